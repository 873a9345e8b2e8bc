"""What the rooms of Keras and of graphs share about TensorFlow: its start in a process, and tf.data.

Importing it imports nothing: a rank must settle the threads before TensorFlow starts.
"""
