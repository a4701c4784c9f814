"""The verbs of the command line: what does the work, and their flags."""

from collections.abc import Sequence

from fluoro_jax.errors import UserError

VERBS = {  # what does the work: (module, function); imported only when it runs
    "train": ("fluoro_jax.training.loop", "train"),
    "evaluate": ("fluoro_jax.experiments.reproduce", "evaluate_run"),
    "reproduce": ("fluoro_jax.experiments.reproduce", "reproduce"),
    "publish": ("fluoro_jax.zoo.publish", "publish"),
    "real_anatomy": ("fluoro_jax.experiments.real_anatomy", "evaluate_in_ct"),
    "new_patients": (
        "fluoro_jax.experiments.new_patients",
        "evaluate_on_new_patients",
    ),
    "compare": ("fluoro_jax.experiments.compare.run", "compare"),
    "confidence": ("fluoro_jax.experiments.compare.confidence", "confidence"),
}
CHECKS_ITS_CONFIG = (
    "compare",
    "confidence",
)  # verbs whose config is not that of a training run
EXTRA = {  # further flags of a verb, handed to its function when given
    "evaluate": {"split": "test (default) or val; of val into tables_val/"},
    "reproduce": {
        "only": "parts of a plan, as --only=best_group,best_patient",
        "published": "score published weights of a plan's parts, do not train them",
    },
    "publish": {
        "name": "what the weights will be called, as group",
        "dtype": "of the file: float32 (default) or bfloat16",
        "folder": "where to; by default into the package",
        "overwrite": "replace weights of that name",
    },
    "real_anatomy": {
        "ct": "a whole chest: DICOM folder, .nii.gz or .mha",
        "count": "simulated tumours in it; by default 48",
        "sites_seed": "seed of their sites and sizes; by default 0",
        "model": "weights in place of the run's: a name or FILE; no --config then",
    },
    "new_patients": {
        "count": "clips of trained patients, and of new ones; by default 256",
    },
    "compare": {
        "only": "trackers, as --only=static_frame0,group@2,my_module:MyTracker",
        "scenarios": "scenarios of the config, as --scenarios=clinic,drift",
        "ct": "a whole chest, for the scenario real_ct: DICOM folder, .nii.gz or .mha",
    },
    "confidence": {
        "model": "the network whose answers are judged, as group or a workdir",
        "ct": "a whole chest, for the scenario real_ct: DICOM folder, .nii.gz or .mha",
    },
}
SWITCHES = ("overwrite", "published")  # flags of EXTRA without a value
# A flag of a verb and the config that is read where it is given and --config is not.
USUAL_CONFIG = {"real_anatomy": ("model", "configs/clinic.py:cpu")}  # weights have one
REQUIRED = {
    "publish": {"name": "my-group"},
    "real_anatomy": {"ct": "chest.mha"},
    "confidence": {"model": "group"},
}


def with_usual_config(verb: str, argv: Sequence[str]) -> list[str]:
    """Returns the arguments, with a config where a flag brings one of its own.

    Raises:
        UserError: for such a flag beside --config.
    """
    flag, config = USUAL_CONFIG.get(verb, ("", ""))
    words = [a.lstrip("-") for a in argv if a.startswith("-")]
    given = [word.partition("=")[0] for word in words]
    if flag not in given or f"{flag}=" in words:  # nothing stands for no such flag
        return list(argv)
    beside = [word for word in given if word.partition(".")[0] == "config"]
    if beside:
        raise UserError(
            f"--{flag} and --{beside[0]}",
            needed="one of the two",
            why="published weights bring the config of their training",
            fix=f"leave out --{beside[0]}, or --{flag} for a run of your own",
        )
    return [f"--config={config}", *argv]
