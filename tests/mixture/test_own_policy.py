"""Policies from outside: found by reference or entry point, held to the contract."""

import sys

import numpy as np
import pytest
from observations import observation_of

from dids.errors import InputError
from dids.mixture.policy import Policy, make_policy
from dids.mixture.policy_names import checked_policy_name

GOOD = '''
import numpy as np
from dids.mixture.policy import PolicyDecision

class FirstDomain:
    """As much of the first domain as a setting says."""

    needs_impact = False

    def __init__(self, *, share: float = 0.7) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must be between 0 and 1, but it is {share}.")
        self.share, self.asked = share, 0

    def mixture(self, observation):
        self.asked += 1
        rest = (1.0 - self.share) / (len(observation.sizes_k) - 1)
        share_k = np.full(len(observation.sizes_k), rest)
        share_k[0] = self.share
        return PolicyDecision(observation.limits.project(share_k), {"note": f"asked {self.asked}"})

    def state_dict(self):
        return {"asked": self.asked}

    def load_state_dict(self, state):
        self.asked = state["asked"]
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def written(folder, body):
    """A module with this class in it, its reference."""
    (folder / "bad.py").write_text(body, encoding="utf-8")
    return "bad:Bad"


def with_answer(folder, answer, state="{}"):
    return written(
        folder,
        f"""
import numpy as np
from dids.mixture.policy import PolicyDecision
class Bad:
    needs_impact = False
    def mixture(self, observation): return {answer}
    def state_dict(self): return {state}
    def load_state_dict(self, state): pass
""",
    )


def test_a_class_in_a_file_of_the_current_folder_makes_the_mixture(folder):
    path_before = list(sys.path)
    policy = make_policy("good:FirstDomain", share=0.4)
    assert isinstance(policy, Policy)
    assert policy.needs_impact is False
    decision = policy.mixture(observation_of())
    np.testing.assert_allclose(decision.mixture, [0.4, 0.2, 0.2, 0.2])
    assert decision.explanation == {"note": "asked 1"}
    assert sys.path == path_before


def test_its_state_goes_on_where_it_was_taken(folder):
    alone = make_policy("good:FirstDomain")
    alone.mixture(observation_of())
    resumed = make_policy("good:FirstDomain")
    resumed.load_state_dict(alone.state_dict())
    assert resumed.mixture(observation_of()).explanation == {"note": "asked 2"}


def install(folder, *entries):
    """A package of metadata alone that offers entry points."""
    info = folder / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dids.policies]\n" + "\n".join(entries) + "\n")


def test_an_installed_package_offers_policies_by_name(folder, monkeypatch):
    install(folder, "first-domain = good:FirstDomain", "uniform = good:FirstDomain")
    monkeypatch.syspath_prepend(folder)
    policy = make_policy("first-domain", share=0.5)
    assert policy.mixture(observation_of()).mixture[0] == pytest.approx(0.5)
    assert checked_policy_name("first-domain") == "first-domain"
    # A package cannot take the name of a policy that is built in.
    np.testing.assert_allclose(make_policy("uniform").mixture(observation_of()).mixture, 0.25)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("nowhere:Policy", {}, "there is no module 'nowhere'"),
        ("good:FirstDoman", {}, "did you mean 'FirstDomain'?"),
        ("good:np", {}, "good:np is no class"),
        ("collections:OrderedDict", {}, "lacks needs_impact, mixture, state_dict, load_state_dict"),
        ("good:FirstDomain", {"shear": 1.0}, "did you mean 'share'?"),
        ("good:FirstDomain", {"share": 2.0}, "share must be between 0 and 1"),
        ("first-domain", {}, "there is no policy 'first-domain'"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_sentence(folder, name, settings, said):
    with pytest.raises(InputError) as raised:
        make_policy(name, **settings)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import no_such_package\n", "bad.py, line 1: ModuleNotFoundError"),
        ("x = 1\nx.y\n", "bad.py, line 2: AttributeError"),
        ("class Bad:\n    def\n", "bad.py, line 2: SyntaxError"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(folder, body, said):
    with pytest.raises(InputError) as raised:
        make_policy(written(folder, body))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("np.full(4, 0.25)", "answered a ndarray"),
        ("PolicyDecision(np.full(3, 1 / 3))", "one for each of the 4 domains"),
        ("PolicyDecision(np.full(4, 0.3))", "sum 1.2"),
        ("PolicyDecision(np.array([1.0, 0.0, 0.0, 0.0]))", "floors and caps"),
        ("PolicyDecision(np.full(4, np.nan))", "nan"),
        ("PolicyDecision(np.full(4, 0.25), {'a': np.float32(1)})", "plain JSON"),
    ],
)
def test_an_answer_that_cannot_be_drawn_is_refused(folder, answer, said):
    policy = make_policy(with_answer(folder, answer))
    with pytest.raises(InputError) as raised:
        policy.mixture(observation_of(limits=observation_of().limits))
    assert "bad:Bad" in str(raised.value)
    assert said in str(raised.value)


def test_a_state_that_json_cannot_keep_is_refused(folder):
    policy = make_policy(with_answer(folder, "None", state="{'a': np.zeros(2)}"))
    with pytest.raises(InputError, match="plain JSON"):
        policy.state_dict()


@pytest.mark.parametrize("name", ["didss", "my policy", "a:b:c", "module:", ":Class", ""])
def test_a_word_that_names_no_policy_is_refused_with_what_there_is(name):
    with pytest.raises(ValueError, match=r"must be dids, .*, or module:Class") as raised:
        checked_policy_name(name)
    assert ("nearest is dids" in str(raised.value)) == (name == "didss")
