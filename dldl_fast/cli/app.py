"""The commands and their options. Torch is imported only by a command that runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from dldl_fast.cli.align import align
from dldl_fast.cli.demo import demo
from dldl_fast.cli.evaluate import evaluate
from dldl_fast.cli.explain import explain
from dldl_fast.cli.export import export
from dldl_fast.cli.predict import predict
from dldl_fast.cli.pretrain import pretrain
from dldl_fast.cli.reproduce import reproduce
from dldl_fast.cli.weights import weights

app = typer.Typer(
    name="dldl-fast",
    help="Label distribution learning with expectation regression (DLDL-v2).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

_DATA, _TRAINING, _LOSS = "Data", "Training", "Loss"


@app.command()
def env() -> None:
    """Show versions, what was built, and which backends work here."""
    from dldl_fast.env import main

    main()


@app.command()
def encodings(
    out: Annotated[
        Path,
        typer.Option(help="Picture to write: .png, .svg or .pdf.", dir_okay=False),
    ] = Path("encodings.png"),
) -> None:
    """Draw the encodings of an age of 50: p.d.f., c.d.f. and ranking code (the paper's Fig. 2)."""
    from dldl_fast.reproduction.encodings_figure import draw_encodings

    try:
        draw_encodings(out)
    except (ImportError, ValueError, OSError) as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None
    Console().print(f"Figure in {escape(str(out))}", highlight=False)


@app.command()
def train(
    data: Annotated[
        str,
        typer.Option(
            help="head-roll (angles of turned ORL faces), orl-age (ages that another model sees "
            "in the ORL faces), a folder with labels.csv, a CSV file with the columns "
            "path,label[,sigma][,split], or a public data set and its folder, such as "
            "morph:DATA/MORPH (docs/datasets.md lists them).",
            metavar="head-roll|orl-age|PATH|SET:PATH",
            rich_help_panel=_DATA,
        ),
    ] = "head-roll",
    aligned: Annotated[
        Path | None,
        typer.Option(
            help="Folder that dldl-fast align wrote: its crops stand for the pictures of the data.",
            exists=True,
            file_okay=False,
            rich_help_panel=_DATA,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Which rows of a data set are for training. Default: the set's first one.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    fold: Annotated[
        int, typer.Option(min=0, help="Of a protocol with several.", rich_help_panel=_DATA)
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results; those of an earlier run there are replaced. "
            "Default: runs/ and the name of the data.",
            file_okay=False,
            rich_help_panel=_DATA,
        ),
    ] = None,
    label_min: Annotated[
        float | None,
        typer.Option(
            help="First label. Default: that of the data set; -45 for head-roll, else 0.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    label_max: Annotated[
        float | None,
        typer.Option(
            help="Last label. Default: that of the data set; 45 for head-roll, else 100.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    label_step: Annotated[
        float | None,
        typer.Option(
            help="Distance between labels. Default: that of the data set, else 1.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=32, max=1024, help="Height and width in pixels.", rich_help_panel=_DATA),
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(
            help="Share held out for the test: of the persons, or of the rows of a table without "
            "a column split.",
            rich_help_panel=_DATA,
        ),
    ] = 0.2,
    validation_fraction: Annotated[
        float,
        typer.Option(
            help="Share of the training images held out to choose the best epoch; of the persons, "
            "where they are known. Without it the last epoch is the result.",
            rich_help_panel=_DATA,
        ),
    ] = 0.0,
    recipe: Annotated[
        str,
        typer.Option(
            help="default, paper-age, paper-attractiveness, official-staged, or a .toml file: what "
            "the other options are where they are not given.",
            rich_help_panel=_TRAINING,
        ),
    ] = "default",
    network: Annotated[
        Literal["ThinAgeNet", "TinyAgeNet", "ThinAttNet", "TinyAttNet", "ALResNet"] | None,
        typer.Option(help="Default: the recipe's.", rich_help_panel=_TRAINING),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint whose features the training starts from, such as that of dldl-fast "
            "pretrain.",
            exists=True,
            file_okay=False,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the images, per stage.", rich_help_panel=_TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images per step, of all processes together.", rich_help_panel=_TRAINING
        ),
    ] = None,
    micro_batches: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Parts that a step's images pass through the network in, for less memory.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Of Adam at the start of a stage.", rich_help_panel=_TRAINING),
    ] = None,
    schedule: Annotated[
        Literal["cosine", "step"] | None,
        typer.Option(
            help="How the learning rate falls: to 0 along a cosine, or in steps.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            help="Decay of a moving average of the weights, such as 0.999, which is then the "
            "model. Default: the recipe's, else none.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop when the validation error has not improved for so many epochs.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that prepare images. Default: as many as cores for large data sets.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on after the last epoch that is in the folder for the results.",
            rich_help_panel=_TRAINING,
        ),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", help="Write curves for TensorBoard, too.", rich_help_panel=_TRAINING
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of the weights, the held-out part and the augmentation.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=_TRAINING),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(
            help="bfloat16 is autocast; auto takes it where the processor computes in it.",
            rich_help_panel=_TRAINING,
        ),
    ] = "auto",
    sigma: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the target distribution. Default: what the data give for "
            "each image, else for all; 3 for head-roll, else 2.",
            rich_help_panel=_LOSS,
        ),
    ] = None,
    lambda_: Annotated[
        float | None,
        typer.Option("--lambda", help="Weight of the regression term.", rich_help_panel=_LOSS),
    ] = None,
    ld_weight: Annotated[
        float | None, typer.Option(help="Weight of the divergence.", rich_help_panel=_LOSS)
    ] = None,
    variance_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the prediction's variance.", rich_help_panel=_LOSS),
    ] = None,
    kind: Annotated[
        Literal["gaussian", "gaussian_pdf", "gaussian_bin", "two_hot", "one_hot", "laplace"] | None,
        typer.Option(help="Shape of the target distribution.", rich_help_panel=_LOSS),
    ] = None,
    divergence: Annotated[
        Literal["kl", "ce", "likelihood"] | None,
        typer.Option(help="Between target and prediction.", rich_help_panel=_LOSS),
    ] = None,
    regression: Annotated[
        Literal["l1", "l2", "smooth_l1"] | None,
        typer.Option(help="Of the expectation.", rich_help_panel=_LOSS),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="auto, cpp, cuda or reference.", rich_help_panel=_LOSS)
    ] = "auto",
) -> None:
    """Train a network with the DLDL-v2 loss; without options: TinyAgeNet, head roll on real faces.

    Prints MAE and e-error on held-out images after every epoch, beside the constant prediction.
    Writes model.safetensors, config.json, metrics.json, history.csv and training.png. Ctrl-C ends
    the training early and still writes them; the exit status is then 130. With --resume the same
    command goes on after the last whole epoch. On several devices or machines: torchrun
    --nproc-per-node N -m dldl_fast.train, with the same options.
    """
    from dldl_fast.cli.train import USER_ERRORS, TrainRequest, run_request

    stderr = Console(stderr=True)
    request = TrainRequest(
        data=data,
        aligned=aligned,
        protocol=protocol,
        fold=fold,
        out=out,
        label_min=label_min,
        label_max=label_max,
        label_step=label_step,
        image_size=image_size,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        recipe=recipe,
        network=network,
        init=init,
        epochs=epochs,
        batch_size=batch_size,
        micro_batches=micro_batches,
        learning_rate=learning_rate,
        schedule=schedule,
        ema=ema,
        patience=patience,
        workers=workers,
        resume=resume,
        tensorboard=tensorboard,
        seed=seed,
        device=device,
        precision=precision,
        sigma=sigma,
        lambda_=lambda_,
        ld_weight=ld_weight,
        variance_weight=variance_weight,
        kind=kind,
        divergence=divergence,
        regression=regression,
        backend=backend,
        command=shlex.join(["dldl-fast", *sys.argv[1:]]),
    )
    try:
        interrupted = run_request(request, Console())
    except KeyboardInterrupt:
        stderr.print("Interrupted. If an epoch was finished, --resume goes on after the last one.")
        raise typer.Exit(130) from None
    except USER_ERRORS as error:
        stderr.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None
    if interrupted:
        raise typer.Exit(130)


@app.command()
def compare(
    more_sweep: Annotated[
        list[str] | None, typer.Argument(hidden=True, metavar="[NAME=NUMBERS]...")
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="diabetes (scikit-learn's), head-roll (angles of turned ORL faces), a CSV table "
            "of features, a .mat file with features and age or labels, or pictures: a folder with "
            "labels.csv, or a CSV file with the columns path,label[,sigma].",
            metavar="diabetes|head-roll|PATH",
            rich_help_panel=_DATA,
        ),
    ] = "diabetes",
    methods: Annotated[
        str,
        typer.Option(
            help="all, or names separated by commas; dldl-v2 is always among them.",
            rich_help_panel=_TRAINING,
        ),
    ] = "all",
    folds: Annotated[
        int, typer.Option(min=2, help="Of the cross-validation.", rich_help_panel=_TRAINING)
    ] = 5,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            help="How often, each time with other folds, weights and batches.",
            rich_help_panel=_TRAINING,
        ),
    ] = 3,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of methods: DLDL-v2 with one hyper-parameter at a time away from its "
            "default, as in the paper's Table 7: lambda=NUMBER,... label_step=NUMBER,...",
            metavar="NAME=NUMBERS...",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results. What is finished there is not done again. Default: "
            "runs/compare- and the name of the data.",
            file_okay=False,
            rich_help_panel=_DATA,
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="Column of a table, or array of a .mat file, with the values. Default: label; in "
            "a .mat file age, or else labels.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(
            help="Column or array with groups, such as persons: no two folds share one.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Label grid. Default: -45,45,1 for head-roll, else from the range of the values.",
            metavar="MIN,MAX,STEP",
            rich_help_panel=_DATA,
        ),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the target distributions, and of the e-error. Default: "
            "what the data give for each row; 3 for head-roll; else 1/50 of the range of the "
            "labels, at least half their distance.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    image_size: Annotated[
        int,
        typer.Option(min=32, max=1024, help="Height and width in pixels.", rich_help_panel=_DATA),
    ] = 64,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Default: 100 for features, 24 for images.", rich_help_panel=_TRAINING
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Default: 64 for features, 32 for images.", rich_help_panel=_TRAINING
        ),
    ] = None,
    learning_rate: Annotated[
        float,
        typer.Option(
            help="Of AdamW at the start; falls to 0 along a cosine.", rich_help_panel=_TRAINING
        ),
    ] = 1e-3,
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda, ...; for images. Features are always computed on the CPU.",
            rich_help_panel=_TRAINING,
        ),
    ] = "auto",
) -> None:
    """Compare methods on real data; without options: all, on scikit-learn's diabetes data.

    Every method gets the same folds, initial weights, batches and budget: an MLP for features,
    TinyAgeNet for images. Prints MAE, e-error, RMSE and Pearson with their spread, and a paired
    test against DLDL-v2. Writes table.csv, .md and .json, pictures, and every fold's predictions.
    After Ctrl-C (exit status 130) the same command goes on where it was.
    """
    stderr = Console(stderr=True)
    try:
        from dldl_fast.cli.compare import USER_ERRORS, CompareRequest, run_request
    except ImportError as error:
        stderr.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None
    if more_sweep and not sweep:
        stderr.print(f"[bold red]Error:[/] unexpected argument {escape(more_sweep[0])}")
        raise typer.Exit(2)
    request = CompareRequest(
        data=data,
        methods=methods,
        folds=folds,
        seeds=seeds,
        out=out,
        label_column=label_column,
        group_column=group_column,
        labels=labels,
        sigma=sigma,
        image_size=image_size,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        device=device,
        sweep=[*(sweep or []), *(more_sweep or [])],
        command=shlex.join(["dldl-fast", *sys.argv[1:]]),
    )
    try:
        run_request(request, Console())
    except KeyboardInterrupt:
        stderr.print("Interrupted; what is finished is kept: the same command goes on from there.")
        raise typer.Exit(130) from None
    except USER_ERRORS as error:
        stderr.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from None


app.command()(align)
app.command()(pretrain)
app.command()(weights)
app.command()(predict)
app.command()(evaluate)
app.command()(explain)
app.command()(export)
app.command()(demo)
app.command()(reproduce)
