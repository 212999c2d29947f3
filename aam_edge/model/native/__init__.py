"""Our causal network: vision, decoder and the Fokker-Planck filter (DESIGN 4 and 5)."""
