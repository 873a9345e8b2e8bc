"""BigDL's own front ends: models in Keras' first words, automatic differentiation, Spark ML's stages."""
