"""What happens at the server: aggregation and the server's optimiser."""
