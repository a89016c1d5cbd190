"""The command line: thin commands over the package, each loaded only when it is called."""
