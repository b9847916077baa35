"""How a process is made, watched and collected."""
