"""The sentences and the table of an audit, on made-up ones."""

import numpy as np
import pytest

from dids.audit.agreement import agreement
from dids.audit.audit import Audit, AuditSettings
from dids.audit.page import write_page
from dids.audit.wording import Slip, best_domains, sentences, slips, table_rows

DROP_KT = np.array([[0.9, 0.1, 0.3], [0.5, 0.4, 0.2], [0.2, 0.6, 0.1], [-0.1, 0.9, 0.4]])
NAMES = ("web", "code", "maths", "junk")
TASKS = ("a", "b", "c")


def made(fisher_kt, step_kt, drop_rkt=None, metric="fisher"):
    """What the damped metric says is always right."""
    drop_rkt = np.stack([DROP_KT, DROP_KT]) if drop_rkt is None else drop_rkt
    kernels = {
        "fisher": np.asarray(fisher_kt), "damped": DROP_KT.copy(), "step": np.asarray(step_kt)
    }  # fmt: skip
    return Audit(AuditSettings(), metric, NAMES, TASKS, kernels, drop_rkt)


def test_a_perfect_estimate_reaches_the_ceiling():
    audit = made(3 * DROP_KT, DROP_KT)
    assert audit.agreement("fisher") == audit.ceiling == agreement(DROP_KT, DROP_KT)
    assert audit.ceiling.rho == 1.0
    assert not slips(audit)
    assert table_rows(audit)["all"][:4] == ["1.00", "1.00", "1.00", "1.00"]


def test_the_better_metric_is_named_where_it_is_clear():
    off = np.array([[0.0, 0.01, 0.02], [0.02, 0.0, 0.01], [0.01, 0.02, 0.0], [0.03, 0.03, 0.03]])
    damped, step = sentences(made(-DROP_KT + off, DROP_KT))[1:3]
    assert damped == "impact.metric: damped has ρ = 1.00, which is clearly better."
    assert step == "impact.metric: step has ρ = 1.00, which is clearly better."
    worse, alike = sentences(made(-DROP_KT + off, DROP_KT, metric="step"))[1:3]
    assert alike.endswith("damped has ρ = 1.00, which is no clear difference over 3 tasks.")
    assert worse.startswith("impact.metric: fisher has ρ = ") and worse.endswith("clearly worse.")
    mixed = DROP_KT * np.array([1.0, -1.0, 1.0])
    other = DROP_KT * np.array([-1.0, 1.0, 1.0])
    assert sentences(made(mixed, other))[2].endswith("no clear difference over 3 tasks.")


def test_a_best_domain_that_impact_ranks_low_is_named():
    fisher_kt = DROP_KT.copy()
    fisher_kt[0, 0] = -5.0  # task a's best
    audit = made(fisher_kt, DROP_KT)
    assert slips(audit) == [Slip("a", "web", 4)]
    assert sentences(audit)[-1] == (
        "a: training says that web helps the most, impact ranks it 4 of 4."
    )
    assert best_domains(audit)[0] == ("web", 4)
    assert table_rows(audit)["a"][4:] == ["web", "4"]


def test_a_best_domain_of_one_measurement_alone_is_no_slip():
    second = DROP_KT.copy()
    second[0, 0] = -0.5
    fisher_kt = DROP_KT.copy()
    fisher_kt[0, 0] = -5.0
    assert not slips(made(fisher_kt, DROP_KT, np.stack([DROP_KT, second])))


def test_where_measurements_disagree_nothing_is_said_of_impact():
    audit = made(DROP_KT, DROP_KT, np.stack([DROP_KT, -DROP_KT]))
    assert audit.ceiling.rho == pytest.approx(-1.0)
    assert sentences(audit)[1].startswith("Two measurements hardly agree")


def test_the_page_shows_strange_names_as_text(tmp_path):
    audit = made(DROP_KT, DROP_KT)
    strange = Audit(
        audit.settings, "fisher", ("<b>web</b>", *NAMES[1:]), TASKS, audit.kernel_kt, audit.drop_rkt
    )
    page = tmp_path / "audit.html"
    write_page(page, strange)
    assert "<b>web</b>" not in page.read_text("utf-8")
