"""What a simulated user may not say."""

import pytest

from prefine.prompts.turns import turn_fault

BEFORE = [
    {"role": "user", "content": "How do bees find their way home?"},
    {"role": "assistant", "content": "By the sun."},
]


@pytest.mark.parametrize(
    "text, may_close, reason",
    [
        ("And what do they do at night?", False, None),
        ("", False, "empty"),
        ("word " * 21, False, "too_long"),
        ("User: and at night?", False, "role_label"),
        ("And at night?\nAssistant: they sleep.", False, "role_label"),
        ("The user: what does that mean?", False, None),
        ("As an AI language model I sleep never.", False, "like_an_assistant"),
        ("How can I help you today?", False, "like_an_assistant"),
        ("Certainly! Here is more about bees.", False, "like_an_assistant"),
        ("Sure? I doubt that it is the sun.", False, None),
        ("1. sun\n2. moon\n3. stars", False, "like_an_assistant"),
        ("1. sun\n2. moon\nwhich one?", False, None),
        ("Thanks, goodbye!", False, "closes"),
        ("Thanks, goodbye!", True, None),
        ("Thanks! And at night?", False, None),
        ("How do the bees find their way home?", False, "repeats"),
    ],
)
def test_faults(text, may_close, reason):
    assert turn_fault(text, BEFORE, longest=20, max_similarity=0.7, may_close=may_close) == reason
