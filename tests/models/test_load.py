"""Networks by their specs: what is built, what is refused, and what a user is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cfcam.errors import MissingExtraError, ModelError
from cfcam.models import LoadedModel, available_forms, load
from cfcam.models.classes import read_classes
from cfcam.models.spec import Source, parse_spec

RANDOM = "no weights given: the network is randomly initialised, its maps mean nothing"


def refused(*arguments, **keywords) -> str:
    """The message of the ModelError, which is one line."""
    with pytest.raises(ModelError) as caught:
        load(*arguments, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900
    return message


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# ---------------------------------------------------------------------------------------------------- specs


def test_the_package_and_its_forms_come_without_torch():
    code = (
        "import sys, cfcam.models as m, cfcam.models.classes; m.available_forms(); "
        "print([n for n in ('torch', 'transformers', 'monai') if n in sys.modules])"
    )
    stubbed = f"import sys, types; p = types.ModuleType('cfcam'); p.__path__ = {list(_package())!r}; "
    done = subprocess.run(
        [sys.executable, "-c", f"{stubbed}sys.modules['cfcam'] = p; {code}"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def _package():
    import cfcam

    return cfcam.__path__


def test_load_is_the_function_however_it_is_reached():
    import cfcam.models
    import cfcam.models.loading

    assert cfcam.models.load is load is cfcam.models.loading.load
    assert not hasattr(cfcam.models, "absent")
    assert set(cfcam.models.__all__) <= set(dir(cfcam.models))


def test_every_example_of_the_help_can_be_read():
    sources = {parse_spec(example).source for _, example in available_forms()}
    assert sources == set(Source) == {"demo", "torchvision", "timm", "hf", "monai", "nnunet", "monai-bundle", "file"}


def test_arguments_are_literals():
    spec = parse_spec("a (1)/b.py:make(3, name='x', shape=[1, (2, -3)], flag=None, f=1e-3)")
    assert spec.path == Path("a (1)/b.py")
    assert spec.arguments == (3,)
    assert spec.keywords == {"name": "x", "shape": [1, (2, -3)], "flag": None, "f": 1e-3}


@pytest.mark.parametrize(
    "spec",
    [
        "monai:DenseNet121(__import__('os').system('touch {ran}'))",
        "monai:DenseNet121(spatial_dims=__import__('os').system('touch {ran}'))",
        "monai:DenseNet121(spatial_dims=[x for x in (1,)])",
        "monai:DenseNet121(**{{'spatial_dims': 2}})",
        "monai:DenseNet121(*(2, 3, 2))",
        "monai:DenseNet121(spatial_dims=9**9)",
        "monai:DenseNet121(spatial_dims=2)(3)",
        "monai:DenseNet121(2, spatial_dims=",
        "monai:os.system",
        "monai:os.system('touch {ran}')",
        "monai:nets.os",
        "monai:torch",
        "monai:os",
        "monai:__import__('os')",
        "monai:__builtins__",
        "monai:",
        "monai:" + "(" * 5000,
        "file.py:make(open('{ran}', 'w'))",
        "file.py:a.b",
        "file.py:make; import os",
        "torchvision:os/../x",
        "torchvision:",
        "timm:hf-hub:someone/model",
        "timm:resnet18@other",
        "hf:",
    ],
)
def test_specs_that_would_run_something_are_refused(spec, tmp_path):
    refused(spec.format(ran=tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("spec", ["", "resnet50", "torchvison:resnet50", "nonsense:x", "a b c", "x" * 5000, "a\0b"])
def test_an_unknown_form_lists_all_of_them(spec):
    message = refused(spec)
    for _, example in available_forms():
        assert example in message


def test_what_looks_like_something_else_is_told_so(tmp_path):
    (tmp_path / "net.py").write_text("def alpha(): ...\nclass Beta: ...\ndef _hidden(): ...\nboom(")
    assert "NAME (the function" in refused(str(tmp_path / "net.py"))
    (tmp_path / "net.py").write_text("raise SystemExit\ndef alpha(): ...\nclass Beta: ...\ndef _hidden(): ...\n")
    assert "it defines alpha, Beta" in refused(str(tmp_path / "net.py"))
    assert "it defines alpha, Beta" in refused(f"{tmp_path / 'net.py'}:")
    assert "file of weights" in refused("best.pt")
    for name in ("best.onnx", "best.ts", "best.torchscript"):
        assert "name the PyTorch network that it was made from" in refused(name)
    assert "returns torch.export.unflatten(torch.export.load(...))" in refused("best.pt2")
    assert f"give hf:{tmp_path}" in refused(str(tmp_path))
    assert "text, not int" in refused(3)


# ---------------------------------------------------------------------------------------------- a user's file

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=3, size=8):
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))

def make(classes=3, *, size=8):
    return Net(classes, size)

ready = Net(5)
constant = 3

def nothing():
    Net()

def the_class():
    return Net

def pair():
    return Net(), {}

def leave():
    raise SystemExit("bye")

def inner():
    torch.zeros(2) @ torch.zeros(3)

def raises():
    x = 1
    inner()

def quiet():
    raise ValueError
"""


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "my networks" / "nets.py"
    path.parent.mkdir()
    path.write_text(NETWORK)
    return path


@pytest.mark.parametrize(
    ("call", "classes"),
    [("make", 3), ("make()", 3), ("make(2)", 2), ("make(classes=4, size=9)", 4), ("Net(6)", 6), ("ready", 5)],
)
def test_a_factory_gives_the_network(call, classes, file):
    loaded = load(f"{file}:{call}")
    assert isinstance(loaded, LoadedModel)
    assert loaded.module(torch.zeros(2, 3, 8, 8)).shape == (2, classes)
    assert not any(module.training for module in loaded.module.modules())
    assert (loaded.classes, loaded.preprocess, loaded.probability, loaded.notes) == (None, {}, "auto", (RANDOM,))


def test_the_process_is_as_before(file):
    path, modules, random = list(sys.path), set(sys.modules), torch.random.get_rng_state()
    folder = Path.cwd()
    file.write_text(f"import os\nos.chdir('/')\n{NETWORK}")
    with torch.inference_mode():
        module = load(f"{file}:make", num_classes=2).module
    assert sys.path == path
    assert Path.cwd() == folder
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [name for name in sys.modules if name not in modules and not name.startswith("_cfcam_")] == []
    assert sys.modules[type(module).__module__].Net is type(module)
    assert not any(parameter.is_inference() for parameter in module.parameters())
    assert [p.name for p in file.parent.iterdir()] == ["nets.py"]


def test_two_files_of_one_name_with_siblings_of_one_name(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        (folder / "parts").mkdir(parents=True)
        (folder / "sibling.py").write_text(f"from parts.more import N\nOUT = N + {number}\n")
        (folder / "parts" / "__init__.py").write_text("")
        (folder / "parts" / "more.py").write_text("N = 0\n")
        (folder / "net.py").write_text(
            "from sibling import OUT\nfrom torch import nn\n"
            "def make():\n    from parts import more\n    return nn.Linear(2, OUT)\n"
        )
    networks = [load(f"{tmp_path / str(number)}/net.py:make").module for number in (1, 2)]
    assert [network.out_features for network in networks] == [1, 2]
    assert "sibling" not in sys.modules
    assert str(tmp_path / "1") not in sys.path


def test_an_edited_file_is_read_anew(tmp_path):
    path = tmp_path / "net.py"
    for outputs in (3, 4):
        path.write_text(f"from torch import nn\ndef make():\n    return nn.Linear(2, {outputs})\n")
        assert load(f"{path}:make").module.out_features == outputs


def line_of(text: str) -> int:
    return NETWORK.split("\n").index(text) + 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("nothing", "nets.py:nothing returned None, not an nn.Module: end it with a return"),
        ("the_class", "returned the class Net: return an instance"),
        ("pair", "returned a tuple, not an nn.Module"),
        ("constant", "is an int, not a function"),
        ("leave", "SystemExit: bye"),
        ("quiet", f"nets.py:{line_of('    raise ValueError')}: ValueError"),
        ("raises", f"nets.py:{line_of('    torch.zeros(2) @ torch.zeros(3)')}: RuntimeError: "),
        (
            "make(klasses=2)",
            "unexpected keyword argument 'klasses'): its arguments are make(classes=3, *, size=8)",
        ),
        ("make(1, 2)", "too many positional arguments"),
        ("mak", "no factory 'mak': did you mean make?"),
        ("zzz", "it defines Net, make, ready, nothing, the_class, pair, leave, inner and 2 more"),
    ],
)
def test_a_factory_that_fails(call, words, file):
    assert words in refused(f"{file}:{call}")


def test_the_users_own_error_is_the_cause(file):
    with pytest.raises(ModelError) as caught:
        load(f"{file}:raises")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_file_that_cannot_be_imported(tmp_path):
    path, before = tmp_path / "bad.py", set(sys.modules)
    path.write_text("import torch\n\ndef make(:\n    pass\n")
    assert f"{path}:3: SyntaxError" in refused(f"{path}:make")
    path.write_text("x = 1\ny = x / 0\n")
    assert f"importing bad.py failed at {path}:2: ZeroDivisionError: division by zero" in refused(f"{path}:make")
    path.write_text("\nimport no_such_module_here\n")
    assert f"{path}:2: ModuleNotFoundError: No module named 'no_such_module_here'" in refused(f"{path}:make")
    (tmp_path / "side.py").write_text("\n\nraise KeyError('k')\n")
    path.write_text("x = 1\nimport side\n")
    assert f"{path}:2: KeyError: 'k'" in refused(f"{path}:make")
    (tmp_path / "side.py").write_text("a b\n")
    assert "side.py:1: SyntaxError" in refused(f"{path}:make")
    assert "does not exist" in refused(f"{tmp_path}/absent.py:make")
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_paths_that_no_file_system_takes(name, file):
    assert "does not exist" in refused(f"{name}.py:make")
    refused(f"hf:/{name}")
    assert "cannot read the weights" in refused(f"{file}:make", weights=name)
    refused(f"{file}:make", classes=name)


def test_ctrl_c_is_not_an_error_of_the_model(tmp_path):
    (tmp_path / "net.py").write_text("raise KeyboardInterrupt\n")
    before = set(sys.modules)
    with pytest.raises(KeyboardInterrupt):
        load(f"{tmp_path}/net.py:make")
    assert set(sys.modules) == before


# ------------------------------------------------------------------------------- weights, classes, the device


def test_weights_with_another_number_of_classes(file, tmp_path):
    torch.save(load(f"{file}:make(2)").module.state_dict(), tmp_path / "two.pt")
    trained = load(f"{file}:make(2)", weights=tmp_path / "two.pt").module
    loaded = load(f"{file}:make", weights=tmp_path / "two.pt", num_classes=2, classes=["benign", "malignant"])
    assert same_weights(loaded.module, trained)
    assert loaded.classes == ("benign", "malignant")
    assert loaded.notes == ()
    assert refused(f"{file}:make", weights=tmp_path / "two.pt").endswith("use --num-classes 2")
    assert refused(f"{file}:make(2)", weights=tmp_path / "two.pt", num_classes=4).endswith("use --num-classes 2")


def test_a_new_classifier_without_weights_is_said_to_be_random(file):
    assert "randomly initialised" in load(f"{file}:make", num_classes=2).notes[0]
    assert load(f"{file}:make", num_classes=3).notes == (RANDOM,)  # no weights at all, not of the head alone


def test_class_names_from_a_file_and_their_number(file, tmp_path):
    (tmp_path / "c.txt").write_text("a\nb\nc\n")
    assert load(f"{file}:make", classes=tmp_path / "c.txt").classes == ("a", "b", "c")
    assert "3 class names for 2 classes" in refused(f"{file}:make", classes=tmp_path / "c.txt", num_classes=2)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "cpu:x"])
def test_a_device_that_is_not_there(device, file):
    assert f"{device!r} cannot be used" in refused(f"{file}:make", device=device)


# ------------------------------------------------------------------------------------------------------ MONAI


@pytest.mark.parametrize("dims", [2, 3])
def test_monai(dims, tmp_path):
    spec = f"monai:DenseNet121(spatial_dims={dims}, in_channels=1, out_channels=3, block_config=(1, 1))"
    loaded = load(spec, num_classes=2)
    assert loaded.notes == (RANDOM,)
    assert loaded.module(torch.zeros(1, 1, *[32] * dims)).shape == (1, 2)
    torch.save(loaded.module.state_dict(), tmp_path / "w.pt")
    again = load(spec, num_classes=2, weights=tmp_path / "w.pt")
    assert same_weights(loaded.module, again.module)
    assert again.notes == ()


def test_monai_names_and_arguments():
    assert "did you mean" in refused("monai:DenseNet12(spatial_dims=2)")
    assert "DenseNet121" in refused("monai:DenseNet12(spatial_dims=2)")
    message = refused("monai:DenseNet121(spatial_dims=2)")
    assert "monai cannot build DenseNet121(spatial_dims=2) (TypeError: " in message
    assert "its arguments are DenseNet121(" in message


def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(MissingExtraError, match=r"timm:resnet18 needs timm, .*pip install 'cfcam\[timm\]'"):
        load("timm:resnet18")
    with pytest.raises(MissingExtraError, match=r"pip install 'cfcam\[torchvision\]'"):
        load("torchvision:resnet50")


def test_a_library_that_does_not_import_says_so(tmp_path, monkeypatch):
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    message = refused("timm:resnet18")
    assert "timm is installed but cannot be imported (RuntimeError: operator torchvision::nms" in message


# ----------------------------------------------------------------------------------------------- Hugging Face


@pytest.fixture(scope="module")
def hf(tmp_path_factory):
    """Write a small transformers network as a user would; give its folder and the network."""
    transformers = pytest.importorskip("transformers")

    def write(**settings):
        folder = tmp_path_factory.mktemp("hf")
        config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], **settings)
        torch.manual_seed(3)
        module = transformers.ResNetForImageClassification(config).eval()
        module.save_pretrained(folder)
        return folder, module

    return write


def test_a_hugging_face_folder(hf, capfd):
    folder, module = hf(id2label={0: "cat", 1: "dog", 2: "owl"}, problem_type="multi_label_classification")
    capfd.readouterr()
    loaded = load(f"hf:{folder}")
    assert capfd.readouterr() == ("", "")
    assert same_weights(loaded.module, module)
    assert loaded.classes == ("cat", "dog", "owl")
    assert loaded.probability == "sigmoid"
    assert (loaded.notes, loaded.preprocess) == ((), {})
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded.module(x).logits, module(x).logits)


def test_a_hugging_face_folder_with_other_weights_and_classes(hf, tmp_path):
    folder, _ = hf(num_labels=3)
    two, module = hf(num_labels=2, problem_type="single_label_classification")
    loaded = load(f"hf:{folder}", weights=two / "model.safetensors", num_classes=2)
    assert same_weights(loaded.module, module)
    assert loaded.classes is None
    assert load(f"hf:{two}").probability == "softmax"
    assert refused(f"hf:{folder}", weights=two / "model.safetensors").endswith("use --num-classes 2")


def test_half_precision_in_a_hugging_face_folder(hf, tmp_path):
    _, module = hf(num_labels=2)
    module.half().save_pretrained(tmp_path)
    loaded = load(f"hf:{tmp_path}")
    assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.float32}
    assert same_weights(loaded.module, module.float())
    said = f"{tmp_path} stores its weights in float16, the network runs in float32: the values are the same"
    assert loaded.notes == (said,)


def test_tables_of_a_network_in_half_precision_are_worked_out_in_full(hf, tmp_path):
    """Built in bfloat16 and cast afterwards, its relative positions would be wrong by up to 0.002."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Swinv2Config(
        image_size=16, patch_size=2, embed_dim=4, depths=[1], num_heads=[1], window_size=4
    )
    whole = transformers.Swinv2ForImageClassification(config)
    tables = {name: value.clone() for name, value in whole.named_buffers() if name.endswith("relative_coords_table")}
    whole.bfloat16().save_pretrained(tmp_path)
    found = dict(load(f"hf:{tmp_path}").module.named_buffers())
    assert tables
    assert all(torch.equal(found[name], table) for name, table in tables.items())


@pytest.mark.parametrize("quantised", [{"quant_method": "fp8"}, {"quant_method": "nonsense"}, {"bits": 4}])
def test_a_quantised_hugging_face_folder_is_refused(quantised, hf):
    """transformers casts some to bfloat16 where it cannot run them, and passes over what it does not know."""
    folder, _ = hf(num_labels=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantised}))
    assert f"{folder} is quantised ({quantised.get('quant_method', 'quantization_config')}" in refused(f"hf:{folder}")


def test_a_folder_without_weights_is_random_and_says_so(hf, tmp_path):
    folder, module = hf(num_labels=2)
    (folder / "model.safetensors").rename(tmp_path / "w.safetensors")
    assert load(f"hf:{folder}").notes == (RANDOM,)
    loaded = load(f"hf:{folder}", weights=tmp_path / "w.safetensors")
    assert loaded.notes == ()
    assert same_weights(loaded.module, module)
    (tmp_path / "w.safetensors").rename(folder / "my.safetensors")
    assert "my.safetensors, which transformers does not read" in load(f"hf:{folder}").notes[1]


def test_a_folder_whose_classifier_is_missing_says_so(hf):
    folder, module = hf(num_labels=2)
    module.resnet.save_pretrained(folder)
    (note,) = load(f"hf:{folder}").notes
    assert "lack classifier.1.bias, classifier.1.weight: these are randomly initialised" in note


def test_hugging_face_folders_that_segment(tmp_path):
    """By the class that the configuration names: scores for each place, or masks of queries, with their class names."""
    transformers = pytest.importorskip("transformers")
    from cfcam.capture import Segmenter

    names = {"id2label": {0: "wall", 1: "sky"}, "label2id": {"wall": 0, "sky": 1}}
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    former = transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(
            hidden_sizes=[8] * 4, depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8, **names
        )
    )
    eomt = transformers.EomtForUniversalSegmentation(
        transformers.EomtConfig(num_queries=3, num_blocks=1, **small, **names)
    )
    x = torch.rand(1, 3, 32, 32)
    for module in (former.eval(), eomt.eval()):
        module.save_pretrained(tmp_path / "net")
        loaded = load(f"hf:{tmp_path / 'net'}")
        assert loaded.classes == ("wall", "sky")
        assert loaded.notes == ()
        expected = module(x).logits if module is former else Segmenter(module)(x)
        found = loaded.module(x)
        torch.testing.assert_close(found.logits if module is former else found, expected)
    again = load(f"hf:{tmp_path / 'net'}", weights=tmp_path / "net" / "model.safetensors")
    assert same_weights(again.module.model, eomt)


def test_hugging_face_folders_of_other_tasks_are_called_what_they_are(tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.GLPNForDepthEstimation(
        transformers.GLPNConfig(
            hidden_sizes=[8] * 4, depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8
        )
    ).save_pretrained(tmp_path)
    message = refused(f"hf:{tmp_path}")
    assert "(it is a GLPNForDepthEstimation): give a folder" in message
    assert "classifies images, finds objects or segments" in message


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_hugging_face_folders_that_are_refused(hf, tmp_path):
    folder, module = hf(num_labels=2)
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.1.bias": Evil(tmp_path / "ran")}, folder / "pytorch_model.bin")
    assert "refuses to run" in refused(f"hf:{folder}")
    assert not (tmp_path / "ran").exists()
    torch.save(module.state_dict(), folder / "pytorch_model.bin")
    assert same_weights(load(f"hf:{folder}").module, module)
    (folder / "pytorch_model.bin").unlink()
    config = json.loads((folder / "config.json").read_text())
    code = {
        "auto_map": {"AutoConfig": "evil.C", "AutoModelForImageClassification": "evil.M"},
        "model_type": "evil",
    }
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (folder / "config.json").write_text(json.dumps(config | code))
    assert "transformers cannot load" in refused(f"hf:{folder}")
    assert not (tmp_path / "ran").exists()
    (folder / "config.json").write_text("{")
    assert "config.json: is no JSON" in refused(f"hf:{folder}")
    (folder / "config.json").unlink()
    assert "holds no config.json" in refused(f"hf:{folder}")
    assert "is not a folder" in refused(f"hf:{folder / 'evil.py'}")
    assert "does not exist" in refused(f"hf:{tmp_path}/absent")
    for name in ("./absent", "a b", "a/b/c", "~/absent", "a//b", "name!"):
        assert "does not exist" in refused(f"hf:{name}")


def test_a_hub_name_without_a_network(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def offline(*_, **__):
        raise huggingface_hub.errors.OfflineModeIsEnabled("offline")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", offline)
    message = refused("hf:someone/no-such-network")
    assert "the Hugging Face hub cannot be reached" in message
    assert "give its folder" in message


HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.5]}
PROCESSORS = [
    (
        {**HALVES, "size": {"height": 192, "width": 224}, "resample": 3},
        {"mean": (0.5,) * 3, "std": (0.5, 0.25, 0.5), "size": (192, 224), "resize": "stretch"}
        | {"interpolation": "bicubic"},
    ),
    ({"size": {"height": 64, "width": 64}, "resample": 1}, {"size": 64, "resize": "stretch"}),
    ({"size": 224, "resample": 2}, {"size": 224, "resize": "stretch", "interpolation": "bilinear"}),
    (
        {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
        {"size": 224, "resize": "shorter-side+crop", "crop_ratio": 0.875},
    ),
    ({"size": {"shortest_edge": 256}}, {"size": 256, "resize": "shorter-side+crop", "crop_ratio": 1.0}),
    (
        {"size": {"shortest_edge": 224}, "crop_pct": 0.9},
        {"size": 224, "resize": "shorter-side+crop", "crop_ratio": 224 / 248},  # 224 / 0.9, rounded down
    ),
    ({"size": {"shortest_edge": 384}, "crop_pct": 0.9}, {"size": 384, "resize": "stretch"}),
    ({"do_normalize": False}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
    ({"do_resize": False, "size": 9}, {}),
    # Bytes left as they are, minus 127.5, over 127.5, is (p - 0.5) / 0.5 for pixels in [0, 1].
    (
        {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3},
        {"mean": (0.5,) * 3, "std": (0.5,) * 3},
    ),
    # byte / 127.5 - 1 is (p - 0.5) / 0.5.
    (
        {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False},
        {"mean": (0.5,) * 3, "std": (0.5,) * 3},
    ),
]


@pytest.mark.parametrize(("config", "expected"), PROCESSORS)
def test_preprocessing_of_a_hugging_face_folder(config, expected, small_vit):
    (small_vit / "preprocessor_config.json").write_text(json.dumps(config))
    loaded = load(f"hf:{small_vit}")
    assert loaded.preprocess == {"size": 224, **expected}  # of its config.json, where the processor states none
    said = "stated by the network (its preprocessor_config.json)"
    assert {name: loaded.sources[name] for name in expected} == dict.fromkeys(expected, said)


@pytest.mark.parametrize(
    "config", ['{"image_mean": 3', "[1]", '{"rescale_factor": "x"}', '{"image_mean": {"a": 3}, "image_std": {"b": 2}}']
)
def test_preprocessing_that_cannot_be_read(config, small_vit):
    (small_vit / "preprocessor_config.json").write_text(config)
    assert "preprocessor_config.json" in refused(f"hf:{small_vit}")


@pytest.fixture(scope="module")
def small_vit(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("vit")
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    transformers.ViTForImageClassification(transformers.ViTConfig(**size)).save_pretrained(folder)
    return folder


# ------------------------------------------------------------------------- the demo and real networks


@pytest.mark.parametrize("spec", ["demo", "demo-shortcut"])
def test_the_demo_networks(spec):
    from cfcam.models.demo import CLASSES

    loaded = load(spec)
    assert loaded.classes == tuple(CLASSES)
    assert loaded.probability == "sigmoid"
    assert loaded.notes == ()
    assert not loaded.module.training


def test_a_real_network_of_a_users_file(data):
    loaded = load(f"{data}/networks.py:busi_mobilenet_v2", classes=["benign", "malignant", "normal"])
    weights = data / "busi-breast-ultrasound-mobilenetv2" / "state_dict_fp16.pt"
    again = load(f"{data}/networks.py:mobilenet_v2", num_classes=3, weights=weights)
    assert same_weights(loaded.module, again.module)
    assert loaded.module(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


def test_names_are_not_compared_each_with_each():
    asked = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            nonlocal asked
            asked += 1
            return str.__eq__(self, other)

    assert len(read_classes([Name(f"class {n}") for n in range(1000)])) == 1000
    assert asked < 10_000
