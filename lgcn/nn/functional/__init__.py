"""Pure functions and small helpers of the layers."""
