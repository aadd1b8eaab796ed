"""Modules with the part of the interfaces of wandb and mlflow that the trackers call, which write down what comes.

`test_trackers.py` compares them with the real packages where those are installed.
"""

import inspect
from types import SimpleNamespace


class WandBRun:
    def __init__(self, config):
        self.config, self.rows, self.code, self.summary = config, [], None, {}

    def log(self, data, step=None, commit=None):
        assert all(isinstance(v, float | WandBImage) for v in data.values())
        assert not self.rows or step >= self.rows[-1][0]
        self.rows.append((step, data))

    def finish(self, exit_code=None):
        self.code = exit_code


class WandBImage:
    def __init__(self, data_or_path):
        self.picture = data_or_path


class WandBSettings:
    def __init__(self, *, silent, console, save_code, disable_code, disable_git):
        assert silent and disable_code and disable_git and not save_code and console == "off"


def wandb():
    made = SimpleNamespace(Image=WandBImage, Settings=WandBSettings, runs=[], asked=[])

    def init(project=None, dir=None, name=None, mode=None, config=None, settings=None):
        made.asked.append({"project": project, "dir": dir, "name": name, "mode": mode})
        made.runs.append(WandBRun(config))
        return made.runs[-1]

    made.init = init
    return made


class Param:
    def __init__(self, key, value):
        assert isinstance(value, str) and len(value) <= 500
        self.key, self.value = key, value


class Metric:
    def __init__(self, key, value, timestamp, step):
        assert isinstance(timestamp, int) and isinstance(step, int)
        self.key, self.value, self.step = key, value, step


class MlflowClient:
    """One store for each address, as the real one has."""

    stores = {}  # noqa: RUF012

    def __init__(self, tracking_uri=None):
        assert tracking_uri.startswith("file://")
        self.store = self.stores.setdefault(tracking_uri, SimpleNamespace(experiments={}, runs={}))

    def get_experiment_by_name(self, name):
        known = self.store.experiments.get(name)
        return None if known is None else SimpleNamespace(experiment_id=known)

    def create_experiment(self, name):
        assert name not in self.store.experiments
        self.store.experiments[name] = str(len(self.store.experiments))
        return self.store.experiments[name]

    def create_run(self, experiment_id, run_name=None):
        key = f"run{len(self.store.runs)}"
        self.store.runs[key] = SimpleNamespace(params={}, metrics=[], tags={}, images=[], status="RUNNING")
        return SimpleNamespace(info=SimpleNamespace(run_id=key))

    def log_batch(self, run_id, metrics=(), params=()):
        run = self.store.runs[run_id]
        run.params |= {p.key: p.value for p in params}
        run.metrics += [(m.key, m.step, m.value) for m in metrics]

    def log_image(self, run_id, image, key=None, step=None):
        self.store.runs[run_id].images.append((key, step, image.size))

    def set_tag(self, run_id, key, value):
        self.store.runs[run_id].tags[key] = value

    def set_terminated(self, run_id, status=None):
        self.store.runs[run_id].status = status


def mlflow():
    """The modules `mlflow`, `mlflow.entities` and `mlflow.tracking`."""
    entities, tracking = SimpleNamespace(Param=Param, Metric=Metric), SimpleNamespace(MlflowClient=MlflowClient)
    return {
        "mlflow": SimpleNamespace(entities=entities, tracking=tracking),
        "mlflow.entities": entities,
        "mlflow.tracking": tracking,
    }


def fits(fake, real):
    """Whether every argument of a fake is one of the real function, in the same place if it may be given so."""
    ours, theirs = (list(inspect.signature(f).parameters.values()) for f in (fake, real))
    names = {p.name for p in theirs}
    placed = [p.name for p in ours if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    loose = any(p.kind is p.VAR_KEYWORD for p in theirs)
    return (loose or {p.name for p in ours} <= names) and placed == [p.name for p in theirs][: len(placed)]
