"""The text checkers of the shipped properties."""
from tinyalign.properties.outcome import Checker
import yaml,pathlib
CHECKERS: dict[str, Checker] = {n: lambda story: [] for n in "obeys_prohibition follows_instruction asks_first no_closes_request comforts_hurt apologises accepts_apology tells_truth reports keeps_promise never_harms no_command shares".split()}
