"""Pure functions and tiny modules that the layers are built from."""
