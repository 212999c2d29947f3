"""The packaged networks; read by `aam_edge.engine.package`."""
