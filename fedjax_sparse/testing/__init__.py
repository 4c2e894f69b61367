"""What authors of algorithms test with: a tiny federated problem, and the contract that every algorithm keeps."""
