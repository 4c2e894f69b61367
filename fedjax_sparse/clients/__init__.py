"""What happens at the clients: local training, its fan-out over a cohort, and the states that clients keep."""
