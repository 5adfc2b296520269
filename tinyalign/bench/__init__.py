"""Speed against peers, with guards: interleaved rounds, checked outputs, ratios with their spread."""
