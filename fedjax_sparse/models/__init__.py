"""Model zoo; see `fedjax_sparse.models.model`."""
