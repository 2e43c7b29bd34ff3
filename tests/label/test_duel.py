"""Duels: the champion, the number of calls, and what an audit finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.registry import labelers

from .asked import ENGINE, Asked, better, group_of, pair_of, text, verdict

TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]
CIRCLE = {"rock": "scissors", "scissors": "paper", "paper": "rock"}


def values(labels):
    return [row[0].value for row in labels.scores]


def circle(request):
    a, b = pair_of(request)
    return verdict(request, "A" if CIRCLE[a] == b else "B")


@pytest.mark.acceptance(name="duel")
@pytest.mark.parametrize(("swap", "calls"), [(True, 8), (False, 4)])
def test_the_champion_is_the_best_by_n_minus_1_duels(asked, swap, calls):
    group = group_of("p", *TEXTS)
    judge, [found] = asked.label("duel", better(len), [group], audit=0.0, swap=swap)
    assert values(found) == [0, 0, 0, 0, 1]
    assert (len(asked.requests), judge.calls([group]), len(found.comparisons)) == (calls, calls, 4)
    facts = judge.facts([group])
    assert (facts["duels"], facts["session"]["calls"], facts["audit"]["prompts"]) == (4, calls, 0)


@settings(max_examples=15)
@given(st.permutations(TEXTS))
def test_the_order_of_the_responses_changes_nothing(order):
    with pytest.MonkeyPatch.context() as patch:
        asked = Asked(patch)
        # Not transitive, so that another order of duels would have another champion.
        _, [found] = asked.label("duel", better(lambda t: len(t) % 3), [group_of("p", *order)], audit=0.0)
        champion = order[values(found).index(1.0)]
        _CHAMPIONS.add((champion, frozenset(text(r) for r in asked.requests)))
        asked.close()
    assert len(_CHAMPIONS) == 1


_CHAMPIONS: set = set()


def test_all_prompts_play_a_round_in_one_call(asked):
    sent = []
    groups = [group_of(f"p{i}", *TEXTS[: 2 + i]) for i in range(4)]
    judge = asked.make("duel", better(len), audit=0.0)
    real = judge.asker.session.ask
    judge.asker.session.ask = lambda requests, step=None: sent.append(len(requests)) or real(requests, step)
    judge.label(groups, lambda *_, **__: None)
    # 2, 3, 4 and 5 responses: four prompts have a first duel, three a second one, and so on, in both orders.
    assert sent == [8, 6, 4, 2]


@pytest.mark.acceptance(name="duel")
def test_an_audit_finds_cycles(asked):
    groups = [group_of("p", *CIRCLE), group_of("q", *CIRCLE)]
    judge, found = asked.label("duel", circle, groups, audit=1.0)
    facts = judge.facts(groups)
    # Everybody wins once, so the champion is among the best of all pairs.
    assert facts["audit"] == {"prompts": 2, "champion_agreement": 1.0, "cycle_rate": 1.0}
    assert facts["duels"] == 4
    assert [c.judge for c in found[0].comparisons] == ["duel", "duel", "duel:audit"]
    assert len(asked.requests) == 12 == judge.calls(groups)


def test_an_audit_of_a_transitive_judge(asked):
    groups = [group_of("p", *TEXTS)]
    judge, _ = asked.label("duel", better(len), groups, audit=1.0)
    assert judge.facts(groups)["audit"] == {"prompts": 1, "champion_agreement": 1.0, "cycle_rate": 0.0}


def test_an_audit_notices_a_champion_who_is_not_the_best(asked):
    group = group_of("p", *TEXTS)
    judge, _ = asked.label("duel", better(len), [group], audit=1.0)
    champion = next(c for c in group.candidates if c.score("duel") == 1.0)
    for c in group.candidates:
        c.scores[-1].value = float(c.text == "a")
    assert champion.text == "eeeee"
    assert judge.facts([group])["audit"]["champion_agreement"] == 0.0


def test_the_share_of_audited_prompts(asked):
    judge = asked.make("duel", better(len), audit=0.25)
    groups = [group_of(f"prompt {i}", "a", "b", "c") for i in range(400)]
    audited = [g.id for g in groups if judge.audited(g)]
    assert 70 < len(audited) < 130
    more = asked.make("duel", better(len), audit=0.5)
    assert {g for g in audited} <= {g.id for g in groups if more.audited(g)}


def test_a_duel_that_nobody_could_decide(asked):
    def answer(request):
        return "no idea" if "dddd" in pair_of(request) else better(len)(request)

    group = group_of("p", *TEXTS[:4])
    _, [found] = asked.label("duel", answer, [group], audit=0.0, max_reasks=0)
    known = dict(zip(TEXTS, found.scores, strict=False))
    assert (known["dddd"][0].value, known["dddd"][0].status) == (None, "parse_error")
    # The others are judged among themselves, unless "dddd" is where the tournament begins.
    assert sum(v == 1.0 for v in values(found)) <= 1


@pytest.mark.parametrize(("n", "rounds", "calls"), [(4, None, 8), (5, None, 12), (5, 2, 8)])
def test_swiss_calls(asked, n, rounds, calls):
    group = group_of("p", *TEXTS[:n])
    judge, [found] = asked.label("duel", better(len), [group], schedule="swiss", rounds=rounds, audit=0.0)
    assert (len(asked.requests), judge.calls([group])) == (calls, calls)
    assert max(values(found)) == 1.0 == values(found)[n - 1]


def test_round_robin_gives_the_share_won(asked):
    group = group_of("p", *TEXTS[:3])
    judge, [found] = asked.label("duel", better(len), [group], schedule="round_robin")
    assert values(found) == [0.0, 0.5, 1.0]
    assert judge.facts([group])["audit"] == {"prompts": 1, "champion_agreement": 1.0, "cycle_rate": 0.0}


def test_a_tie_keeps_the_king(asked):
    _, [found] = asked.label("duel", lambda r: verdict(r, "A"), [group_of("p", *TEXTS)], audit=0.0)
    assert sorted(values(found)) == [0, 0, 0, 0, 1]
    assert {c.outcome for c in found.comparisons} == {"tie"}
    [king] = {c.a for c in found.comparisons}
    assert king


def test_nothing_to_compare(asked):
    _, [alone, none] = asked.label("duel", better(len), [group_of("p", "a", "a"), group_of("q", " ")])
    assert [s.status for [s] in alone.scores] == ["only_response"] * 2
    assert none.scores[0][0].status == "empty_response"
    assert not asked.requests


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(PrefineError, match="rounds are those of the schedule swiss"):
        labelers.check({"name": "duel", "engine": ENGINE, "rounds": 2})
    with pytest.raises(PrefineError, match="audit must be between 0 and 1"):
        labelers.check({"name": "duel", "engine": ENGINE, "audit": 2.0})
    with pytest.raises(PrefineError, match="has no setting 'baseline'"):
        labelers.check({"name": "duel", "engine": ENGINE, "baseline": "a=b"})
