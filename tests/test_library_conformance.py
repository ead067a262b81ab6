# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The library's own common tests of a model, run on ours."""

import unittest
import unittest.mock

import torch
from library import import_library_tests

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, RnnAttnModel
from hf_rnn_attn.model.cache_rnn_attn import CACHE_NAMES, RnnAttnCache, cache_of


common = import_library_tests("test_modeling_common")


class RnnAttnModelTester:
    """A small model and inputs for it, under the names that the library's tests ask for."""

    is_training = True
    batch_size = 4
    seq_length = 7
    num_hidden_layers = 2
    hidden_size = 16

    def get_config(self):
        return RnnAttnConfig(
            vocab_size=99,
            encoder_embedding_size=16,
            encoder_hidden_size=8,
            encoder_layers=2,
            decoder_embedding_size=16,
            decoder_hidden_size=16,
            decoder_layers=2,
            attentional_size=16,
            encoder_dropout=0.1,
            decoder_dropout=0.1,
            share_encoder_decoder_embeddings=True,
        )

    def prepare_config_and_inputs_for_common(self):
        ids, decoder_ids = torch.randint(4, 99, (2, self.batch_size, self.seq_length))
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "decoder_input_ids": decoder_ids,
            "decoder_attention_mask": torch.ones_like(decoder_ids),
        }
        return self.get_config(), inputs


# What skips itself, by the beginnings of the names. A test that skips itself and is not listed here fails.
SKIPS = {
    "needs a GPU, several GPUs or an Apple device (offloading to CPU and disk without one: test_loading.py)": (
        "test_can_load_with_device_context_manager",
        "test_can_load_with_global_device_set",
        "test_cpu_offload",
        "test_disk_offload",
        "test_flash_attn_kernels_mps",
        "test_flex_attention",
        "test_model_parallelism",
        "test_sdpa_can_compile_dynamic",
        "test_sdpa_can_dispatch_on_flash",
        "test_torch_compile_for_training",
    ),
    "needs a package for GPUs alone: deepspeed, flash attention, kernels": (
        "test_flash_attn_",
        "test_kernels_can_load",
        "test_resize_embeddings_untied_with_deepspeed",
        "test_resize_tokens_embeddings_with_deepspeed",
    ),
    "about the kernels of self-attention, of which a recurrent model has none": (
        "test_can_set_attention_dynamically",
        "test_eager_matches_sdpa_inference",
        "test_sdpa_can_dispatch",
        "test_sliding_window_mask",
    ),
    "about mixtures of experts": (
        "test_eager_matches_batched_and_grouped_inference",
        "test_moe_models",
        "test_output_router_logits",
    ),
    "about position embeddings: a recurrent model counts positions by reading": (
        "test_model_rope",
        "test_resize_position_vector_embeddings",
        "test_vision_axial_rope",
    ),
    "about models made of several models": (
        "test_attn_implementation_composite_models",
        "test_internal_model_config_and_subconfig_are_same",
    ),
    "about decoders without an encoder": ("test_causal_lm_loss_honors_shift_labels",),
    "about the decorator that records a layer's single call; the decoder's cell is called at every step": (
        "test_can_capture_specific_layers_hidden_states",
        "test_capture_outputs_decorator",
    ),
    "about weights that changed their names between versions, or must stay in float32; there are none": (
        "test_can_load_from_already_mapped_keys",
        "test_keep_in_fp32_modules",
        "test_reverse_loading_mapping",
    ),
    "about tensor parallelism, which models of a few million parameters have no plan for": (
        "test_tied_head_has_a_tp_plan_entry",
        "test_tp_plan_matches_params",
    ),
}


class RnnAttnModelTest(common.ModelTesterMixin, common.GenerationTesterMixin, unittest.TestCase):
    """`GenerationTesterMixin` is an empty stand-in, for its file is not in the source distribution: what it asks of an
    encoder-decoder is asked in test_generation.py.
    """

    all_model_classes = (RnnAttnModel, RnnAttnForConditionalGeneration)
    is_encoder_decoder = True
    may_skip = tuple(name for names in SKIPS.values() for name in names)

    def setUp(self):
        self.model_tester = RnnAttnModelTester()
        self._register(common.MODEL_MAPPING_NAMES, RnnAttnModel)
        self._register(common.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, RnnAttnForConditionalGeneration)

    def _register(self, names, model_class):
        self.enterContext(unittest.mock.patch.dict(names, {"rnn_attn": model_class.__name__}))

    def test_attention_outputs(self):
        """Of the library's test what concerns attention across: a recurrent model does not attend to itself."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            model = model_class(config).eval()
            self.assertNotIn("cross_attentions", model(**inputs))
            outputs = model(**inputs, output_attentions=True)
            model.config.output_attentions = True
            for result in (outputs, model(**inputs)):
                self.assertEqual([tuple(layer.shape) for layer in result.cross_attentions], [(4, 1, 7, 7)])
                self.assertEqual(result.decoder_attentions, ())
                self.assertIsNone(result.encoder_attentions)
            both = model(**inputs, output_attentions=True, output_hidden_states=True)
            self.assertEqual(len(both), len(outputs) + 2)
            model.config.output_attentions = False

    def test_bc_cache_name_forward(self):
        """The library's test skips a cache that is not its own; ours is taken and returned under both names."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            model = model_class(config).eval()
            outputs = [model(**inputs, **{name: RnnAttnCache(2)}) for name in CACHE_NAMES]
            self.assertEqual([cache_of(output).get_seq_length() for output in outputs], [7, 7])
            torch.testing.assert_close(*(output[0] for output in outputs))

    def test_retain_grad_hidden_states_attentions(self):
        """The library's test without its attentions: those of all steps are put together for the caller alone."""
        self.has_attentions = False
        super().test_retain_grad_hidden_states_attentions()
