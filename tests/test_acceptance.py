"""What preference data is promised to do, by name; `pytest -m 'acceptance(name="duel")'` shows one of the promises."""

import re
from pathlib import Path

PROMISES = {
    "hh_golden_numbers": "HH-RLHF harmless test: 2,312 rows, 2,308 pairs, 4 empty responses, 2,306 contexts",
    "gsm8k_golden_numbers": "GSM8K solutions: 731 prompts of both kinds, 2,429 pairs, 5,276 labels, 2,001 good",
    "demo_files": "300 preferences of which 80 with a system message, 150 + 150 labels, messages in parts",
    "ultrafeedback": "scores of 10 that were a 1, ratings that do not apply, empty completions, means computed anew",
    "binarize": "pairs do not depend on order or process, never hold ties, equal texts or missing scores",
    "split_stability": "added or shuffled rows move no prompt; depths of one dialogue stay together",
    "near_duplicates": "planted ones are found, nothing else is, whatever the parts, the order, or a stop in between",
    "decontamination": "all 1,319 GSM8K questions are found in the solutions, and none in HH-RLHF",
    "deita": "a selection worked out by hand, the same at every size of blocks, within its budget",
    "boundary": "kinds of tokenizers and templates: one BOS, a trained end of turn, a mask exactly on the response",
    "truncation_table": "short and long prompts with short, long and unequal responses",
    "mask_without_marks": "the mask is that of a template with generation marks",
    "ledger_killed": "20 kills at random instants: each key once, few calls repeated",
    "limiter": "refusals with and without a pause, breakdowns, broken bodies: tries and waits are bounded",
    "balance_under_failures": "with 3 of 10 calls failing every stage balances and no neighbor is touched",
    "position_bias": "a judge that looks at the place alone decides nothing in both orders, and everything in one",
    "choice_probabilities": "of known log-probs; spellings are summed; too little mass is no score",
    "duel": "n - 1 comparisons find the best; cycles are found by an audit",
    "conditioning": "asking for the lower score flips a pair, twice restores it; equal scores make one row",
    "cost": "tokens are counted once, a budget stops before it is exceeded, a rehearsal calls nobody",
    "export_round_trip": "out to TRL's columns and back keeps the ids; numbers stay numbers",
    "other_tools": "datasets, TRL and Ray read and do the same",
}


def test_every_promise_has_a_test_of_its_name():
    texts = [p.read_text() for p in Path(__file__).parent.rglob("test_*.py") if p != Path(__file__)]
    named = {name for text in texts for name in re.findall(r'mark\.acceptance\(name="(\w+)"\)', text)}
    assert named == set(PROMISES)
