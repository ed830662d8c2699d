"""Seven lessons about comparing models, each filled from a class's own comparison."""
