"""What the words of the command line do, one file for each kind. `engine.cli` reads the words."""
