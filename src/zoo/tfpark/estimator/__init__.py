"""What programs need of ``tf.estimator``, which TensorFlow 2.16 and later no longer have."""
