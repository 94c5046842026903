from pathlib import Path

import pytest

LATENT = "datasets.toy_latent"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"datasets.My-Data": {}}, "datasets.My-Data.[key]: String should match pattern"),
        ({"datasets.toy.source.kind": "coco"}, "datasets.toy.source: Input tag 'coco' found"),
        ({"datasets.rooms.source.colour": 1},
         "datasets.rooms.source.lsun.colour: unknown key (value 1); expected one of ['at_most', "),
        ({"datasets.toy.held_out": {"part": 0.3}},
         "datasets.toy.held_out.part: unknown key (value 0.3); expected one of ['beyond', "),
        ({"datasets.toy.shape": [8, 8]}, "datasets.toy.shape.2: Field required"),
        ({"datasets.toy.shape": [1, 0, 8]}, "datasets.toy.shape.1: Input should be greater than"),
        ({"datasets.toy.shape": [1, 8, 7], "datasets.toy_latent": ..., "autoencoders.kl": ...},
         "sides must be divisible by 2; dataset 'toy' is 8×7"),
        ({"datasets.toy.horizontal_flips": "no"}, "valid boolean, found 'no'"),
        ({"datasets.toy.features": []}, "toy vanilla: dataset 'toy' names no features, so no dis"),
        ({"datasets.toy.features": ["vgg"]},
         "datasets.toy.features.0: unknown extractor 'vgg'; expected one of ['classifier',"),
        ({"datasets.rooms.features": ["random_inception_clean"]}, "unknown extractor 'random_ince"),
        ({"datasets.rooms.features": ["inception_clean"] * 2}, "expected each once, found ['incep"),
        ({"classifiers": {}},
         "datasets.toy.features: classifiers: unknown 'toy'; expected one of []"),
        ({"datasets.rooms_latent.features": ["classifier"]},
         "datasets.rooms_latent.features: classifiers: unknown 'rooms'; expected one of ['toy']"),
        ({"classifiers.toy.seed": ...}, "classifiers.toy.seed: Field required"),
        ({"classifiers.toy.blocks": 4},
         "classifiers.toy.blocks: expected fewer than would halve 8×8 to nothing, found 4"),
        ({"datasets.rooms.source": {"kind": "image_folder", "folder": "x", "per_class": 9,
                                    "labels": False}},
         "image_folder: per_class: expected classes, and no count beside it"),
        ({"datasets.rooms.source": {"kind": "image_folder", "folder": "x", "per_class": 9,
                                    "count": 50}},
         "image_folder: per_class: expected classes, and no count beside it"),
        ({"classifiers.toy_latent": {"channels": 1, "features": 1, "epochs": 1, "batch_size": 1,
                                     "learning_rate": 1, "seed": 0}},
         "classifiers: unknown 'toy_latent'; expected one of ['rooms', 'toy']"),
        ({"datasets.rooms.source.category": "../../x"}, "source.lsun.category: String should matc"),
        ({"datasets.rooms.source.category": "a/b"}, "source.lsun.category: String should match"),
        ({"datasets.rooms.source.category": ".."}, "source.lsun.category: String should match"),
        ({"datasets.rooms.source.sha256": "abc"}, "source.lsun.sha256: String should match patter"),
        ({"datasets.rooms.source.folder": "$NOT_SET_ANYWHERE/x"},
         "expected a home folder and variables that are set, found '$NOT_SET_ANYWHERE/x'"),
        ({"datasets.rooms.source.folder": "~nobody_of_this_name/x"}, "expected a home folder"),
        ({"datasets.rooms.source.folder": ""}, "expected a path or an address, found ''"),
        ({"datasets.rooms.source.folder": "a\0b"}, "expected a path or an address, found 'a\\x00"),
        ({"datasets.rooms.source.folder": 5}, "source.lsun.folder: expected a path, found 5"),
        ({"autoencoders.sd.subfolder": "../../etc"}, "sd.pretrained.subfolder: String should mat"),
        ({"datasets.rooms.source.count": 5},
         "datasets.rooms.source.count: expected at least 8 images for its distances, found 5"),
        # held-out images
        ({"datasets.toy.held_out": {}},
         "toy.held_out: expected one of ['share', 'beyond', 'folder', 'published'], found none"),
        ({"datasets.toy.held_out": {"share": 0.1, "beyond": 9}}, "found ['share', 'beyond']"),
        ({"datasets.toy.held_out": {"share": 1}}, "held_out.share: Input should be less than 1"),
        ({"datasets.toy.held_out": {"share": 0.9999}},
         "toy.held_out.share: expected at least 8 images on either side, found 0.9999 of 1797"),
        ({"datasets.toy.held_out": {"published": True}},
         "held_out: expected a source that is published with a test set, found sklearn_digits"),
        ({"datasets.toy.held_out": {"beyond": 50}},
         "toy.held_out.beyond: expected a count in the source, found none in sklearn_digits"),
        ({"datasets.rooms.held_out": {"beyond": 5}}, "beyond: expected at least 8 images, found 5"),
        ({"datasets.rooms.held_out": {"folder": "y"}},
         "rooms.held_out.folder: expected it of an image_folder, found lsun"),
        ({"datasets.rooms.source": {"kind": "image_folder", "folder": "x"},
          "datasets.rooms.held_out": {"folder": "x"}}, "folder: expected another than the source"),
        ({"datasets.rooms.source": {"kind": "cifar10", "folder": "x", "part": "test"},
          "datasets.rooms.held_out": {"published": True}}, "expected other images than the test s"),
        ({"datasets.rooms.reference": "held_out"},
         "datasets.rooms.reference: expected held_out beside it, found none"),
        ({f"{LATENT}.held_out": {"share": 0.1}},
         "datasets.toy_latent.held_out: expected it of 'toy', whose images are compared"),
        ({"datasets.toy.held_out": ...},
         "classifiers: of a dataset without held_out images: unknown 'toy'; expected one of []"),
        # latents and autoencoders
        ({f"{LATENT}.source.autoencoder": "vq"},
         "toy_latent.source.autoencoder: unknown 'vq'; expected one of ['kl', 'sd']"),
        ({f"{LATENT}.source.of": "moon"},
         "toy_latent.source.of: expected a pixel dataset: unknown 'moon'; expected one of ['rooms"),
        ({f"{LATENT}.source.of": "toy_latent"}, "expected a pixel dataset: unknown 'toy_latent'"),
        ({"autoencoders.kl.dataset": "toy_latent"}, "autoencoders.kl.dataset: unknown 'toy_latent"),
        ({f"{LATENT}.shape": [3, 8, 8]},
         "toy_latent.shape: expected (4, 4, 4), which autoencoder 'kl' makes of (1, 8, 8), fou"),
        ({f"{LATENT}.source.of": "rooms", f"{LATENT}.features": []},
         "toy_latent.shape: expected images of 1 channels with sides divisible by 2 for autoencod"),
        ({"datasets.rooms.shape": [3, 196, 196], "datasets.rooms_latent.shape": [4, 24, 24]},
         "rooms_latent.shape: expected the sides that autoencoder 'sd' makes of (3, 196, 196), ha"),
        ({"datasets.rooms_latent.shape": [4, 4, 8]}, "halved several times, found (4, 4, 8)"),
        ({"datasets.rooms_latent.shape": [4, 32, 32]}, "halved several times, found (4, 32, 32)"),
        ({"autoencoders.sd.scaling_factor": 0}, "sd.pretrained.scaling_factor: Input should be gr"),
        ({"autoencoders.sd.scaling_factor": True}, "scaling_factor: expected a number, found True"),
        ({"autoencoders.sd.revision": "main"}, "sd.pretrained.revision: String should match patte"),
        ({f"{LATENT}.source.posterior": "sample", "runs.1.dataset": "toy_latent",
          "runs.1.coupling": "semidiscrete"},
         "toy_latent short: semidiscrete pairs noises with the stored samples, so it does not go "
         "with the posterior sample of dataset 'toy_latent'"),
        ({"datasets.toy.horizontal_flips": True, "runs.1.coupling": "semidiscrete"},
         "the horizontal_flips of dataset 'toy'"),
        ({"datasets.toy.horizontal_flips": True},
         "toy short: loom pairs noises with the stored samples, so it does not go with the horizo"),
        # mirrors
        ({"mirrors": {"moon": ["file:/x"]}}, "mirrors: unknown 'moon'; expected one of ['rooms']"),
        ({"mirrors": {"toy": ["file:/x"]}}, "mirrors: unknown 'toy'; expected one of ['rooms']"),
        ({"mirrors": {"rooms": ["/data"]}}, "mirrors.rooms.0: String should match pattern"),
        ({"mirrors": {"rooms": ["file:$NOT_SET_ANYWHERE"]}}, "mirrors.rooms.0: expected a home"),
        ({"mirrors": {"rooms": ["https://"]}}, "mirrors.rooms.0: String should match pattern"),
        ({"mirrors": {"rooms": []}}, "mirrors.rooms: List should have at least 1 item"),
    ],
)  # fmt: skip
def test_a_dataset_that_cannot_be_is_refused(problems, changes, expected):
    assert expected in problems(changes)


def test_home_folders_and_variables_are_replaced_in_paths(parsed, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    config = parsed(
        {
            "datasets.rooms.source.folder": "~/lsun",
            "inception_weights": "${DATA}/weights",
            "mirrors": {"rooms": ["file:$DATA/lsun", "https://example.org/lsun"]},
            "autoencoders.sd.name": "~/vae",
        }
    )
    assert config.datasets["rooms"].source.folder == Path("/home/me/lsun")
    assert config.inception_weights == Path("/data/weights")
    assert config.mirrors == {"rooms": ["file:/data/lsun", "https://example.org/lsun"]}
    assert config.autoencoders["sd"].name == "/home/me/vae"


def test_an_autoencoder_knows_the_shapes_of_its_datasets(parsed):
    config = parsed()
    assert config.latent_shapes("kl") == {"toy_latent": ((1, 8, 8), (4, 4, 4))}
    assert config.latent_shapes("sd") == {"rooms_latent": ((3, 16, 16), (4, 4, 4))}
    assert (config.pixels("toy_latent"), config.pixels("toy")) == ("toy", "toy")
