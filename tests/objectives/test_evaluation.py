"""`evaluate`: any objective on plain numbers."""

import doctest
import math

import numpy as np
import pytest
import torch

import prefine.objectives.evaluation
from prefine.errors import PrefineError
from prefine.objectives import Evaluation, evaluate
from prefine.objectives.dpo import DPO
from prefine.objectives.evaluation import needed
from prefine.registry import objectives
from tests.objectives.fixtures import LABELED, LENGTHS, LOGPS, MISMATCHED, PAIRS, REF, REF_TOKENS, TOKENS


def test_the_example_in_its_docstring():
    assert doctest.testmod(prefine.objectives.evaluation).failed == 0
    assert doctest.testmod(prefine.objectives.evaluation).attempted > 0


def test_types_of_numbers():
    expected = [0.6349461016, 0.7871917248]
    for given, dtype in (
        (list, torch.float64),
        (np.array, torch.float64),
        (lambda x: np.array(x, dtype=np.float32), torch.float32),
        (torch.tensor, torch.float32),
        (lambda x: torch.tensor(x, dtype=torch.float64), torch.float64),
    ):
        found = evaluate("dpo", logps=given(LOGPS), ref_logps=given(REF))
        assert isinstance(found, Evaluation) and found.losses.dtype == dtype
        assert found.losses.tolist() == pytest.approx(expected, abs=2e-7)
    for half in (torch.float16, torch.bfloat16):
        found = evaluate("dpo", logps=torch.tensor(LOGPS, dtype=half), ref_logps=torch.tensor(REF, dtype=half))
        assert found.losses.dtype == torch.float32 and found.grad_logps.dtype == half


def test_names_paths_and_instances():
    by_name = evaluate("dpo", **PAIRS, beta=0.3)
    for other in ("sigmoid", "prefine.objectives.dpo:DPO"):
        assert torch.equal(evaluate(other, **PAIRS, beta=0.3).losses, by_name.losses)
    assert torch.equal(evaluate(DPO(beta=0.3), **PAIRS).losses, by_name.losses)
    with pytest.raises(PrefineError, match="beta"):
        evaluate(DPO(), **PAIRS, beta=0.3)


def test_losses_gradients_and_the_caller_s_tensors():
    logps = torch.tensor(LOGPS, dtype=torch.float64, requires_grad=True)
    found = evaluate("dpo", logps=logps, ref_logps=REF, lengths=LENGTHS)
    assert logps.grad is None and not found.losses.requires_grad
    assert found.loss.item() == pytest.approx((0.6349461016 + 0.7871917248) / 2, abs=1e-9)
    assert found.grad_logps.tolist()[0] == pytest.approx([-0.0470035948, 0.0470035948], abs=1e-9)
    assert found.weights.tolist() == [1, 1] and found.grads == {} and found.state == {}
    assert not any(m.requires_grad for m in found.metrics.values())


def test_lengths_are_ones_if_not_given():
    found = evaluate("simpo", logps=[[-1.0, -2.0]])
    assert found.metrics["lengths/chosen"].tolist() == [1] and found.metrics["logps_avg/rejected"].tolist() == [-2]


def test_sums_and_lengths_come_from_the_tokens():
    found = evaluate("simpo", token_logps=TOKENS)
    assert found.losses.tolist() == pytest.approx([0.4740769842, 3.5297504183], abs=1e-9)
    assert found.metrics["lengths/chosen"].tolist() == [3, 2]
    assert found.metrics["lengths/rejected"].tolist() == [2, 4]
    given = evaluate("simpo", token_logps=TOKENS, logps=[[-1.0, -2.0]] * 2, lengths=[[1, 1]] * 2)
    assert given.metrics["logps/chosen"].tolist() == [-1, -1]
    reference = evaluate("ld_dpo", token_logps=TOKENS, ref_token_logps=REF_TOKENS, ref_logps=REF)
    assert reference.losses.tolist() == pytest.approx([0.6325990353, 0.7790464522], abs=1e-9)


def test_weights_of_examples():
    scores = [[0.1, 0.9], [0.3, 0.2]]
    found = evaluate("pad", logps=LOGPS, lengths=LENGTHS, scores=scores, example_weighting="tokens")
    assert found.weights.tolist() == [5, 6]
    expected = (5 * found.losses[0] + 6 * found.losses[1]) / 11
    assert found.loss.item() == pytest.approx(expected.item())


def test_state_goes_in_and_comes_out():
    first = evaluate("bco", **LABELED)
    assert set(first.state) == {"running"}
    second = evaluate("bco", state=first.state, **LABELED)
    assert not torch.equal(second.state["running"], first.state["running"])
    frozen = evaluate("bco", state=first.state, training=False, **LABELED)
    assert torch.equal(frozen.state["running"], first.state["running"])
    with pytest.raises(PrefineError, match="running"):
        evaluate("bco", state={"runnin": [[0, 0], [0, 0]]}, **LABELED)


def test_logits_of_student_and_teacher():
    student = torch.log(torch.tensor([[[[0.4, 0.4, 0.2], [0.25, 0.25, 0.5]]]], dtype=torch.float64))
    teacher = torch.log(torch.tensor([[[[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]]], dtype=torch.float64))
    whole = evaluate("kd", student_logits=student, teacher_logits=teacher, teacher="any", lam=1.0)
    assert whole.loss.item() == pytest.approx(0.1181784590, abs=1e-9)
    first = evaluate("kd", student_logits=student, teacher_logits=teacher, lengths=[[1]], teacher="any", lam=1.0)
    assert first.loss.item() == pytest.approx(0.0876597251, abs=1e-9)
    with pytest.raises(PrefineError, match="teacher_logits"):
        evaluate("kd", student_logits=student, teacher="any")
    with pytest.raises(PrefineError, match="teacher_logits"):
        evaluate("dpo", student_logits=student, teacher_logits=teacher)
    with pytest.raises(PrefineError, match="divergence"):
        evaluate("kd", logps=[[-1.0]], teacher="any")


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("dpoo", PAIRS, "dpo"),
        ("dpo", {"ref_logps": REF}, "logps is missing"),
        ("dpo", {"logps": LOGPS}, "ref_logps"),
        ("dpo", {"logps": LOGPS[0], "ref_logps": REF[0]}, r"shape \(B, K\)"),
        ("dpo", {"logps": [[-1.0]], "ref_logps": [[-1.0]]}, "takes 2 responses"),
        ("dpo", {"logps": LOGPS, "ref_logps": REF[:1]}, "ref_logps must have the shape"),
        ("dpo", {**PAIRS, "lengths": [[1, 2]]}, "lengths must have the shape"),
        ("dpo", {**PAIRS, "betta": 0.1}, "betta"),
        ("sft", {"logps": LOGPS}, "takes 1 responses"),
        ("pl_dpo", {"logps": [[-1.0]], "ref_logps": [[-1.0]], "scores": [[1.0]]}, "at least 2"),
        ("pad", {"logps": [[-1.0] * 13], "scores": [[1.0] * 13]}, "at most 12"),
        ("kto", {**LABELED, "kl_logps": [0.0], "kl_ref_logps": [0.0] * 4}, "kl_logps must have the shape"),
        ("mpo", PAIRS, "scores"),
        ("dpo", {**PAIRS, "ref_logps": [[[-1.0], [-2.0]], [[-1.0], [-2.0]]]}, "ref_logps must have the shape"),
        ("beta_dpo", {**PAIRS, "state": {"M0": [1.0, 2.0]}}, "the state 'M0' has the shape"),
        ("beta_dpo", {**PAIRS, "state": {"m0": 1.0}}, "no state 'm0'"),
    ],
)
def test_mistakes_are_named(name, arrays, message):
    with pytest.raises(PrefineError, match=message):
        evaluate(name, **arrays)


def test_pairs_need_no_labels():
    found = evaluate("bco", **PAIRS)
    assert torch.equal(found.losses, evaluate("bco", labels=[[1, 0], [1, 0]], **PAIRS).losses)
    with pytest.raises(PrefineError, match="labels"):
        evaluate("bco", **{k: v for k, v in LABELED.items() if k != "labels"})


def test_what_an_objective_needs():
    assert needed(objectives.build({"name": "dpo"})) == {"ref_logps"}
    assert needed(objectives.build({"name": "simpo"})) == set()
    assert needed(objectives.build({"name": "kto"})) == {"ref_logps", "labels", *MISMATCHED}
    assert needed(objectives.build({"name": "kto", "z0": "zero"})) == {"ref_logps", "labels"}
    assert needed(objectives.build({"name": "pad", "alpha": 0.5})) == {"scores", "teacher_logps"}
    assert needed(objectives.build({"name": "wpo", "wpo": "greedy"})) == {"ref_logps", "max_logps"}
    ld = needed(objectives.build({"name": "ld_dpo"}))
    assert ld == {"ref_logps", "token_logps", "ref_token_logps"}
    assert needed(objectives.build({"name": "sft", "train_on_prompt": True})) == {"prompt_logps", "prompt_lengths"}


def test_numbers_without_a_type_take_that_of_the_log_probs():
    single = evaluate("dpo", logps=torch.tensor([[-3.0, -3.5]]), ref_logps=[[-3.2, -2.5]], lengths=[[3, 2]])
    assert single.losses.dtype == torch.float32
    whole = evaluate("dpo", logps=torch.tensor([[-3, -4]]), ref_logps=torch.tensor([[-3, -2]]))
    assert whole.losses.tolist() == pytest.approx([math.log1p(math.exp(-0.2))], abs=1e-12)
