"""Models in Keras' first words (Keras 1.2), as BigDL speaks them, on Keras 3."""
