"""What happens to a frame between Textual and the terminal."""
