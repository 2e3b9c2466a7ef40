"""Messages between processes, and the guard and limits of every HTTP server."""
