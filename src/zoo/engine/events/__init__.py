"""What happened: events go one way, from ranks and driver to whoever listens."""
