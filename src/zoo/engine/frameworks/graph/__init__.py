"""TensorFlow graphs (``tf.compat.v1``): placeholders, a loss tensor, an optimizer, a session.

Importing it imports nothing: a rank must settle the threads before TensorFlow starts.
"""
