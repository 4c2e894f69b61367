"""Where programs run: platforms, meshes of devices, several processes, compilation."""
