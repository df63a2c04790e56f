"""One law for everything with state: stopped after any step and resumed, it ends as if left alone.

A run is a function ``run(stop=None, resume=None, **changes)`` that goes from the start, or from
what a run stopped at ``resume`` has saved, to the end; on the way it saves after ``stop`` steps. It
returns what must not change: by name, values by step (samples, losses, logs, weights).
"""


def assert_resumes(run, stop, **changes):
    """``changes`` is what may be otherwise after the stop: workers, replay, accumulation, ranks."""
    whole, resumed = run(stop=stop), run(resume=stop, **changes)
    for what, by_step in whole.items():
        tail = {step: value for step, value in by_step.items() if step >= stop}
        assert resumed[what] == tail, f"{what} differs after a stop at step {stop}"
    return whole, resumed
