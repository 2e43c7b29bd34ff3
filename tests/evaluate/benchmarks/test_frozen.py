import numpy as np
import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.frozen import find, load

GAMED = """model,index,preference,len_1,len_2,std_delta_len,not_gamed_baseline,instruction_difficulty
base_verbose,0,0.9,10,20,-0.5,False,0.0
base_verbose,1,0.8,10,30,-2.0,False,-1.5
base_concise,0,0.2,10,5,0.25,False,0.0
base_concise,1,0.1,10,4,1.0,False,-1.5
"""


def test_features_are_length_difficulty_and_no_bias(tmp_path):
    (tmp_path / "df_gamed.csv").write_text(GAMED)
    frozen = load(tmp_path)
    assert frozen.baseline == "base"
    assert frozen.features == pytest.approx(
        np.array([[np.tanh(-0.5), 0, 0], [np.tanh(-2), -1.5, 0], [np.tanh(0.25), 0, 0], [np.tanh(1), -1.5, 0]])
    )
    assert frozen.preference.tolist() == [0.9, 0.8, 0.2, 0.1]
    assert frozen.difficulty.tolist() == [0.0, -1.5]


def test_difficulty_of_its_own_file_goes_first(tmp_path):
    (tmp_path / "df_gamed.csv").write_text(GAMED)
    (tmp_path / "instruction_difficulty.csv").write_text("index,instruction_difficulty\n1,7\n0,6\n2,5\n")
    assert load(tmp_path).difficulty.tolist() == [6, 7, 5]


def test_the_gamed_rows_fit_one_baseline_and_judge(tmp_path):
    (tmp_path / "df_gamed.csv").write_text(GAMED)
    frozen = load(tmp_path)
    assert frozen.fits(None, None) and frozen.fits("base", "weighted_alpaca_eval_gpt4_turbo")
    assert not frozen.fits("other", None) and not frozen.fits("base", "some_other_judge")


def test_the_first_folder_with_the_file_is_found(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "df_gamed.csv").write_text(GAMED)
    assert find([tmp_path, tmp_path / "b"]) == tmp_path / "b"
    assert find([tmp_path]) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("std_delta_len", "std_delta", r"no column 'std_delta_len'; did you mean 'std_delta'"),
        ("0.8,", "much,", r"df_gamed.csv: row 2: preference: 'much' is not a number"),
        (",1,", ",3,", "index: instructions are not numbered 0, 1, 2"),
    ],
)
def test_bad_files_are_named(tmp_path, old, new, message):
    (tmp_path / "df_gamed.csv").write_text(GAMED.replace(old, new))
    with pytest.raises(PrefineError, match=message):
        load(tmp_path)


def test_a_missing_or_empty_file(tmp_path):
    with pytest.raises(PrefineError, match=r"there is no .*df_gamed.csv"):
        load(tmp_path)
    (tmp_path / "df_gamed.csv").write_text(GAMED.splitlines()[0] + "\n")
    with pytest.raises(PrefineError, match="no row"):
        load(tmp_path)
