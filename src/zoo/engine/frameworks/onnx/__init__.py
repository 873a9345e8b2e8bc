"""ONNX Runtime: files of models that only compute."""
