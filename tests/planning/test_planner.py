"""Plans with engines whose speed and error are made up, on a clock that only they move."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from stand_ins import loaded, nearest
from tessera import Upscaler
from tessera.engines import opening
from tessera.engines.engine import EngineInfo, Precision, Tiles
from tessera.engines.opening import EngineName, find_engine
from tessera.errors import EngineError, UsageError
from tessera.generators import RRDBNetConfig, SRVGGNetCompactConfig
from tessera.planning import Candidate, Plan, Planner, Timing
from tessera.planning import candidates as candidates_module
from tessera.planning import planner as planner_module
from tessera.planning.candidates import list_candidates
from tessera.planning.chart import chart, with_noise
from tessera.planning.plan import TILES, waste
from tessera.planning.preparing import prepare
from tessera.tiling.settings import Settings
from tessera.weights.files import LoadedGenerator, load_weights, save_weights
from tessera.zoo.int8_file import Int8File


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path))
    monkeypatch.setattr(candidates_module, "choose_products", lambda name, policy, device: BF16[name, policy])
    # Three engines are enough to test planning; another test checks which take part.
    monkeypatch.setattr(opening, "ENGINES", declared())
    return tmp_path / "plans"


def declared(**import_seconds: float) -> tuple[EngineInfo, ...]:
    """Three engines, whose libraries take no time to import unless stated, and of whose speed nothing is known."""
    return tuple(
        dataclasses.replace(find_engine(name), import_seconds=import_seconds.get(name, 0.0), usual_speed={})
        for name in ("ncnn", "openvino", "pytorch")
    )


BF16 = {
    (name, policy): "bf16" if policy != "exact" and name != "ncnn" else "fp32"
    for name in ("pytorch", "openvino", "ncnn")
    for policy in ("exact", "auto", "fast")
}


@dataclass
class World:
    """Engines by (name, precision): seconds to open, seconds per run, and what is added to the right answer."""

    speed: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    error: dict[tuple[str, str], Callable[[Tensor], Tensor]] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    now: float = 0.0
    opened: list[tuple[str, str, int | None]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def open(self, network: LoadedGenerator, candidate: Candidate) -> "FakeEngine":
        if candidate.engine in self.broken:
            raise EngineError(f"no {candidate.engine} today")
        self.opened.append((candidate.engine, candidate.precision, candidate.threads))
        return FakeEngine(self, network, candidate)

    def planner(self, policy: Precision = "auto", generator: LoadedGenerator | None = None, **options) -> Planner:
        return Planner(generator or nearest(), policy, **{"threads": 2, **options}, opener=self.open, clock=self.clock)


class FakeEngine:
    bytes_per_pixel = 100

    def __init__(self, world: World, network: LoadedGenerator, candidate: Candidate) -> None:
        self.name, self.precision = candidate.engine, candidate.precision
        self._world, self._network, self._first = world, network, True
        self._threads = candidate.threads

    def run(self, tiles: Tiles) -> Tiles:
        start, seconds = self._world.speed.get((self.name, self.precision), (0.0, 0.1))
        self._world.now += seconds * (tiles.shape[-1] / 192) ** 2 + (start if self._first else 0.0)
        self._first = False
        wrong = self._world.error.get((self.name, self.precision), lambda sr: sr)
        return wrong(self._network.network(torch.from_numpy(tiles))).numpy()

    def exact(self) -> "FakeEngine":
        return self


MANY = 10**9
OPENVINO, PYTORCH, INT8 = ("openvino", "bf16"), ("pytorch", "bf16"), ("openvino", "int8")


def test_the_fastest_is_chosen():
    world = World(speed={OPENVINO: (0.0, 0.05), PYTORCH: (0.0, 0.02)})
    found = world.planner().engine_for(MANY)
    assert found is not None
    assert (found[0].name, found[0].precision) == PYTORCH


def test_a_small_job_gets_the_engine_that_is_ready_first_and_a_large_one_the_faster():
    world = World(speed={OPENVINO: (0.6, 0.01), PYTORCH: (0.0, 0.02), ("ncnn", "fp32"): (0.0, 0.4)})
    planner = world.planner()
    small, large = (planner.engine_for(pixels) for pixels in (128 * 128, MANY))
    assert small is not None
    assert large is not None
    assert (small[0].name, large[0].name) == ("pytorch", "openvino")
    assert large[1].seconds == pytest.approx(0.6 + MANY * 0.01 / 192**2, rel=0.01)


def test_an_import_that_only_this_process_need_not_make_counts(monkeypatch):
    world = World(speed={OPENVINO: (0.6, 0.01), PYTORCH: (0.0, 0.02), ("ncnn", "fp32"): (0.0, 0.4)})
    monkeypatch.setattr(opening, "ENGINES", declared(pytorch=1.5))
    small = world.planner().engine_for(128 * 128)
    assert small is not None
    assert small[0].name == "ncnn"


def test_the_budget_is_kept_and_what_was_not_measured_is_not_chosen():
    world = World(speed={OPENVINO: (0.1, 0.3), PYTORCH: (0.1, 0.25), ("ncnn", "fp32"): (0.0, 0.001)})
    plan = world.planner().plan
    assert plan.seconds <= 1.5
    assert [bool(each.timings) for each in plan.candidates] == [True, True, False, False, False]
    choice = plan.choose(MANY)
    assert choice is not None
    assert choice.candidate.engine == "pytorch"


@pytest.mark.parametrize(
    ("speeds", "opened"),
    [
        ({"ncnn": {"fp32": 2.2}, "openvino": {"bf16": 3.1}, "pytorch": {"bf16": 2.3, "fp32": 1.0}}, [OPENVINO]),
        # Within a fifth of each other: both are measured, the one expected to win first.
        (
            {"ncnn": {"fp32": 2.2}, "openvino": {"bf16": 2.1}, "pytorch": {"bf16": 1.0, "fp32": 0.5}},
            [("ncnn", "fp32"), OPENVINO],
        ),
    ],
)
def test_what_cannot_win_by_experience_is_not_even_opened(monkeypatch, speeds, opened):
    engines = tuple(dataclasses.replace(each, usual_speed=speeds[each.name]) for each in declared())
    monkeypatch.setattr(opening, "ENGINES", engines)
    world = World()
    plan = world.planner().plan
    assert [(name, products) for name, products, _ in world.opened] == opened
    assert plan.choose(MANY) is not None


def test_what_was_left_out_by_experience_is_measured_when_the_fastest_fails_the_check(monkeypatch):
    speeds = {"ncnn": {"fp32": 2.2}, "openvino": {"bf16": 3.1}, "pytorch": {"bf16": 2.3, "fp32": 1.0}}
    engines = tuple(dataclasses.replace(each, usual_speed=speeds[each.name]) for each in declared())
    monkeypatch.setattr(opening, "ENGINES", engines)
    found = World(error={OPENVINO: torch.zeros_like}).planner().engine_for(MANY)
    assert found is not None
    assert (found[0].name, found[0].precision) == PYTORCH


def test_ahead_of_time_every_candidate_is_measured_and_compared_with_the_reference(monkeypatch):
    speeds = {"ncnn": {"fp32": 2.2}, "openvino": {"bf16": 3.1}, "pytorch": {"bf16": 2.3, "fp32": 1.0}}
    engines = tuple(dataclasses.replace(each, usual_speed=speeds[each.name]) for each in declared())
    monkeypatch.setattr(opening, "ENGINES", engines)
    world = World(speed={("ncnn", "fp32"): (0.0, 0.01)}, error={OPENVINO: torch.zeros_like})
    planner = world.planner()
    plan = planner.measure_all()
    assert all(each.timings for each in plan.candidates)
    assert all(each.difference is not None for each in plan.candidates)
    choice = planner.choose(MANY)
    assert choice is not None
    assert choice.candidate.engine == "ncnn"
    verdicts = {(each.engine, each.precision): plan.explain(each, choice) for each in plan.candidates}
    assert verdicts["ncnn", "fp32"] == "chosen"
    assert verdicts[PYTORCH] == "slower"
    assert verdicts[OPENVINO].startswith("excluded: ")
    assert World().planner().plan == plan


@pytest.mark.parametrize(
    ("policy", "share", "levels", "allowed"),
    [
        *(("auto", 0.005, 40, True), ("auto", 0.02, 2, False), ("auto", 1.0, 1, True)),
        *(("fast", 0.02, 2, True), ("fast", 0.3, 3, False), ("exact", 1.0, 1, True), ("exact", 0.001, 2, False)),
    ],
)
def test_an_engine_that_breaks_its_policy_is_dropped_and_the_next_is_taken(policy, share, levels, allowed):
    def off(sr: Tensor) -> Tensor:
        flat = sr.clone().flatten()
        count = round(len(flat) * share)
        step = levels / 255
        flat[:count] += torch.where(flat[:count] > 0.5, -step, step)
        return flat.reshape(sr.shape)

    first = ("ncnn", "fp32") if policy == "exact" else OPENVINO
    world = World(speed={first: (0.0, 0.001)}, error={first: off})
    planner = world.planner(policy)
    found = planner.engine_for(MANY)
    assert found is not None
    assert ((found[0].name, found[0].precision) == first) == allowed
    judged = next(each for each in planner.plan.candidates if (each.engine, each.precision) == first)
    assert judged.difference is not None
    assert judged.difference.largest == levels
    assert (judged.problem is None) == allowed


@pytest.mark.parametrize(
    "wrong", [lambda sr: sr * float("nan"), lambda sr: sr[..., :-1], lambda sr: 1 - sr, torch.zeros_like]
)
def test_output_that_is_simply_wrong_is_never_used(wrong):
    world = World(speed={OPENVINO: (0.0, 0.001)}, error={OPENVINO: wrong})
    found = world.planner().engine_for(MANY)
    assert found is not None
    assert found[0].name != "openvino"


def test_when_all_that_was_measured_is_wrong_the_rest_is_measured():
    world = World(
        speed={OPENVINO: (0.2, 0.6), PYTORCH: (0.1, 0.5), ("ncnn", "fp32"): (0, 0.3)},
        error={OPENVINO: torch.zeros_like, PYTORCH: torch.zeros_like},
    )
    planner = world.planner()
    assert not planner.plan.candidates[2].timings
    found = planner.engine_for(MANY)
    assert found is not None
    assert (found[0].name, found[0].precision) != ("ncnn", "bf16")
    assert found[1].candidate.timings
    assert found[1].candidate.precision == "fp32"


def test_an_engine_that_fails_is_left_out_and_the_plan_says_why():
    world = World(broken=("openvino",))
    planner = world.planner()
    found = planner.engine_for(MANY)
    assert found is not None
    assert found[0].name != "openvino"
    assert "openvino bf16, 2 threads excluded: EngineError: no openvino today" in planner.plan.describe(found[1])


def test_nothing_is_left_when_all_fail():
    assert World(broken=("openvino", "pytorch", "ncnn")).planner().engine_for(MANY) is None


def test_a_plan_is_measured_and_checked_once_and_then_known(cache):
    world = World(speed={OPENVINO: (0.0, 0.001)})
    first = world.planner()
    first.engine_for(MANY)
    again = World()
    second = again.planner()
    assert second.plan == first.plan
    assert second.engine_for(MANY) is not None
    assert again.now == 0
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("change", [{"policy": "exact"}, {"threads": 1}, {"engine": "ncnn"}, {"generator": nearest(2)}])
def test_another_question_gets_another_plan(cache, change):
    _ = World().planner().plan
    world = World()
    _ = world.planner(**change).plan
    assert world.now > 0
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"key": {}}', "\0" * 50, "[" * 100_000, "wrong key", "nan"])
def test_a_damaged_plan_is_measured_again(cache, damage):
    plan = World().planner().plan
    (path,) = cache.iterdir()
    record = json.loads(path.read_text())
    if damage == "wrong key":
        record["key"]["weights"] = "f" * 64
        damage = json.dumps(record)
    elif damage == "nan":
        record["value"]["candidates"][0]["timings"][0]["seconds_per_megapixel"] = float("nan")
        damage = json.dumps(record)
    path.write_text(damage)
    world = World()
    assert world.planner().plan.candidates == plan.candidates
    assert world.now > 0
    assert json.loads(path.read_text())["value"]


def test_a_cache_that_cannot_be_written_is_no_trouble(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "file"))
    assert World().planner().engine_for(MANY) is not None


def test_what_the_user_named_is_obeyed():
    world = World(speed={OPENVINO: (0.0, 0.001)})
    found = world.planner(engine="pytorch", threads=3, tile=100).engine_for(MANY)
    assert found is not None
    assert (found[0].name, found[1].candidate.threads, found[1].tile) == ("pytorch", 3, 100)
    assert {(name, threads) for name, _, threads in world.opened} == {("pytorch", 3)}


def test_fewer_threads_are_taken_when_they_are_faster(monkeypatch):
    class Crowded(FakeEngine):
        def run(self, tiles: Tiles) -> Tiles:
            self._world.now += 0.01 if self._threads == 4 else 0.02
            return self._network.network(torch.from_numpy(tiles)).numpy()

    world = World()
    monkeypatch.setattr(world, "open", lambda network, candidate: Crowded(world, network, candidate))
    monkeypatch.setattr(candidates_module, "threads_for", lambda device, threads: threads or 8)
    free, fixed = (world.planner(threads=threads).engine_for(MANY) for threads in (None, 8))
    assert free is not None
    assert fixed is not None
    assert (free[1].candidate.threads, fixed[1].candidate.threads) == (4, 8)


def test_every_engine_that_can_run_any_network_of_the_family_takes_part(monkeypatch):
    monkeypatch.undo()
    taking = {each.engine for each in list_candidates("exact", engine="auto", device="cpu", threads=2)}
    assert taking == set(get_args(EngineName)) - {"auto", "onnxruntime"}  # the last runs files of its own


def test_the_quicker_and_less_accurate_way_of_the_kernels_is_for_fast_alone(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(candidates_module, "choose_products", lambda name, *_: "fp32" if name == "ncnn" else "bf16")
    for policy in ("exact", "auto", "fast"):
        found = list_candidates(policy, engine="auto", device="cpu", threads=2)
        assert [(each.engine, each.precision) for each in found if each.fast] == (
            [("kernels", "bf16")] if policy == "fast" else []
        )


def whole_numbers(drop: float = 0.1) -> Int8File:
    return Int8File(Path("model.int8.xml"), drop, True, "1" * 64)


def test_a_file_with_whole_numbers_is_judged_by_the_loss_that_it_states_and_not_by_its_distance_from_fp32():
    fast = {INT8: (0.0, 0.01), OPENVINO: (0.0, 0.02), PYTORCH: (0.0, 0.03), ("ncnn", "fp32"): (0.0, 0.1)}
    world = World(speed=fast, error=dict.fromkeys((INT8, OPENVINO), lambda sr: sr + 3 / 255))
    found = world.planner("fast", int8=whole_numbers()).engine_for(MANY)
    assert found is not None
    assert (found[0].name, found[0].precision) == INT8
    assert found[1].candidate.difference is not None
    assert found[1].candidate.difference.within_one_level == 0
    without = world.planner("fast").engine_for(MANY)
    assert without is not None
    assert (without[0].name, without[0].precision) == PYTORCH


def test_a_file_with_whole_numbers_that_gives_no_picture_is_dropped_all_the_same():
    world = World(speed={INT8: (0.0, 0.01)}, error={INT8: lambda sr: sr * torch.nan})
    found = world.planner("fast", int8=whole_numbers()).engine_for(MANY)
    assert found is not None
    assert (found[0].name, found[0].precision) != INT8


@pytest.mark.parametrize("policy", ["auto", "fast"])
def test_another_picture_is_refused_whatever_an_int8_file_states(policy):
    """A file that states a loss of 0.1 dB and gives 5.7 dB is a real case: its scales belonged to other weights."""
    world = World(speed={INT8: (0.0, 0.001)}, error={INT8: lambda sr: 1 - sr})
    planner = world.planner(policy, int8=whole_numbers())
    found = planner.engine_for(MANY)
    assert found is not None
    assert (found[0].name, found[0].precision) != INT8
    assert "another picture than that of fp32" in planner.plan.describe(found[1])


def test_a_few_samples_may_not_be_off_by_everything():
    """1 % of inverted samples is within the share that `auto` allows, and is visible."""

    def speckle(sr: Tensor) -> Tensor:
        flat = sr.clone().flatten()
        flat[::120] = 1 - flat[::120].round()
        return flat.reshape(sr.shape)

    world = World(speed={OPENVINO: (0.0, 0.001)}, error={OPENVINO: speckle})
    found = world.planner().engine_for(MANY)
    assert found is not None
    assert found[0].name != "openvino"


def test_when_every_candidate_fails_the_check_the_reference_runs(tmp_path, monkeypatch):
    """The output is that of PyTorch in fp32, and the lines say that no candidate is usable."""
    path = tmp_path / "model.safetensors"
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    save_weights(path, config, config.build().state_dict())
    monkeypatch.setattr(planner_module.Planner, "_objection", lambda *_: "wrong")
    ready = prepare(load_weights(path), Settings(engine="openvino"), 1000)
    assert (ready.pipeline.engine.name, ready.pipeline.engine.precision) == ("pytorch", "fp32")
    assert "no candidate is usable" in ready.lines[-1]


def test_another_file_with_whole_numbers_asks_for_another_plan():
    world = World()
    one, other = (world.planner("fast", int8=dataclasses.replace(whole_numbers(), sha256=digit * 64)) for digit in "12")
    assert one.plan.seconds > 0
    world.opened.clear()
    assert world.planner("fast", int8=whole_numbers()).plan == one.plan
    assert world.opened == []
    assert other.plan.seconds > 0
    assert INT8 in [(name, products) for name, products, _ in world.opened]


def test_on_a_gpu_it_is_pytorch_and_one_is_timed():
    world = World()
    found = world.planner(device="cuda").engine_for(MANY)
    assert found is not None
    assert (found[0].name, found[0].precision) == PYTORCH
    assert [bool(each.timings) for each in world.planner(device="cuda").plan.candidates] == [True, False]


# Tiles


def candidate(*rates: tuple[int, float], bytes_per_pixel: int = 100) -> Candidate:
    timings = tuple(Timing(side=side, seconds_per_megapixel=rate) for side, rate in rates)
    return Candidate(engine="pytorch", precision="fp32", timings=timings, bytes_per_pixel=bytes_per_pixel)


def test_rates_between_two_tiles_are_interpolated_and_beyond_them_kept():
    both = candidate((100, 10.0), (200, 30.0))
    assert [both.seconds_per_megapixel(side) for side in (50, 100, 150, 200, 900)] == [10, 10, 20, 30, 30]


def test_tiles_are_large_where_seams_cost_much_small_where_they_do_not_and_fit_in_memory():
    assert candidate((64, 1.0)).choose_best_tile(0) == min(TILES)
    assert candidate((64, 1.0)).choose_best_tile(24) > 256
    assert candidate((128, 1.0), (256, 9.0)).choose_best_tile(8) == 128
    assert candidate((64, 1.0), bytes_per_pixel=60_000).choose_best_tile(24) == 256
    assert waste(128, 24) == pytest.approx((128 / 80) ** 2)


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (48, 1), (64, 3)])
def test_the_chart_is_a_picture_with_every_kind_of_content(side, channels):
    picture = chart(side, channels)
    assert picture.shape == (channels, side, side)
    np.testing.assert_allclose(picture * 255, np.rint(picture * 255), atol=1e-4)
    np.testing.assert_array_equal(picture, chart(side, channels))
    steps = np.abs(np.diff(picture, axis=-1)) * 255
    assert (steps < 3).mean() > 0.2  # smooth parts
    assert steps.max() > 60  # edges and letters


def test_noise_is_added_to_the_chart_as_strong_as_is_said():
    clean = np.full((3, 64, 64), np.float32(128 / 255))
    noisy = with_noise(clean, 25)
    assert noisy.dtype == np.float32
    assert (noisy * 255).std() == pytest.approx(25, rel=0.03)
    np.testing.assert_array_equal(noisy, with_noise(clean, 25))


def test_an_engine_that_is_right_but_for_noisy_pictures_is_dropped():
    def off(sr: Tensor) -> Tensor:
        rough = (sr[..., 1:, :] - sr[..., :-1, :]).abs().mean() > 0.02
        return sr + 0.1 if rough else sr

    world = World(speed={OPENVINO: (0.0, 0.001)}, error={OPENVINO: off})
    found = world.planner().engine_for(MANY)
    assert found is not None
    assert found[0].name != "openvino"


# Through the door


def tiny(seed: int = 0) -> LoadedGenerator:
    config = RRDBNetConfig(features=8, growth=4, blocks=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return loaded(config.build(), config)


def test_a_real_plan_gives_a_picture_within_its_policy(monkeypatch):
    monkeypatch.undo()
    generator = tiny()
    pixels = np.rint(chart(40).transpose(1, 2, 0) * 255).astype(np.uint8)
    choices: tuple[tuple[Precision, EngineName], ...] = (("exact", "pytorch"), ("exact", "auto"), ("auto", "auto"))
    results = [
        Upscaler(generator, precision=precision, engine=engine, flat_lock=False).upscale(pixels).astype(int)
        for precision, engine in choices
    ]
    assert np.abs(results[1] - results[0]).max() <= 1
    assert (np.abs(results[2] - results[0]) <= 1).mean() >= 0.98


def test_when_planning_fails_it_is_pytorch_and_the_lines_say_so(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("tessera.planning.planner.read_plan", lambda key: 1 / 0)
    upscaler = Upscaler(tiny())
    assert upscaler.engine.name == "pytorch"
    assert "planning failed: ZeroDivisionError" in upscaler.plan_lines()[0]
    assert upscaler.upscale(np.zeros((8, 8, 3), np.uint8)).shape == (32, 32, 3)


def test_threads_are_checked_and_no_part_of_what_decides_pixels():
    assert Settings(threads=1).fingerprint == Settings().fingerprint
    with pytest.raises(UsageError, match="threads: expected 1 to 1024, found 0"):
        Settings(threads=0)


def test_a_plan_survives_being_written_down():
    plan = Plan(policy="auto", candidates=(candidate((64, 1.5)),), seconds=2.5)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
