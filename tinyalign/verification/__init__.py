"""Arguments: trees of claims whose leaves are re-run as tests on the weights."""
