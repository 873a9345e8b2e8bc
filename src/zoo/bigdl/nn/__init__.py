"""Layers (`layer`), criteria (`criterion`) and ways to begin (`initialization_method`), as modules of torch."""
