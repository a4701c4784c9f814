"""The tumour: shape, path, chord and exact outline."""
