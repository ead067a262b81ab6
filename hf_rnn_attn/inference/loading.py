# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Model and tokenizer by the name that a user gave: a folder, or a repository on the Hub.

Says in one line what is not there or cannot be read. Does not know what is done with a model.
"""

import os
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from ..model.checkpoint_rnn_attn import load_checkpoint


def load_model(name: str | Path, **options: Any) -> tuple[Any, Any]:
    """Loads model and tokenizer of a checkpoint folder or Hub id; code that lies there is never run.

    Args:
        name (`str` or `Path`): the folder or Hub id.
        options: arguments of `from_pretrained` for the model.

    Raises:
        OSError: there is none of that name.
        ValueError: what is there is damaged, or needs code of its own.
    """
    find_model(name)
    try:
        return load_checkpoint(name, **options)
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise ValueError(f"{name}: the model needs code of its own, which this program never runs") from error
        raise


def find_model(name: str | Path) -> Path:
    """Returns the folder of a checkpoint, here or in the cache of what was fetched from the Hub.

    Raises:
        OSError: there is none of that name.
        ValueError: the name is neither a folder's nor a repository's.
    """
    if os.path.isdir(name):
        if not os.path.isfile(os.path.join(name, "config.json")):
            raise FileNotFoundError(f"{name}: no checkpoint; expected a folder that holds config.json")
        return Path(name)
    if os.path.exists(name):
        raise ValueError(f"{name}: expected a checkpoint folder or the name of a model on the Hub, got a file")
    try:
        return Path(hf_hub_download(str(name), "config.json")).parent
    except HFValidationError as error:
        raise ValueError(f"{name}: no such folder, and no name of a model on the Hub (USER/NAME)") from error
    except GatedRepoError as error:
        raise OSError(
            f"{name}: gated on the Hub; ask for access on its page and log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{name}: no such folder, and no such model on the Hub; for a private one, log in with `hf auth login`"
        ) from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{name}: no such folder; the Hub cannot be reached, and no copy of such a model is in the cache"
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(f"{name}: the repository on the Hub holds no config.json") from error
    except HfHubHTTPError as error:
        raise OSError(f"{name}: the Hub answers {error.response.status_code}; try again later") from error
