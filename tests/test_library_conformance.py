# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""The library's own common tests of a model, run on ours."""

import unittest
import unittest.mock

import torch
from library import import_library_tests

from hf_rnn_attn import RnnAttnConfig, RnnAttnForConditionalGeneration, RnnAttnModel


common = import_library_tests("test_modeling_common")


class RnnAttnModelTester:
    """Small models and inputs, in the form that the library's tests ask for."""

    def __init__(self, parent, is_training=True):
        self.parent = parent
        self.is_training = is_training
        self.batch_size = 4
        self.seq_length = 7
        self.encoder_seq_length = 7
        self.decoder_seq_length = 7
        self.num_hidden_layers = 2
        self.hidden_size = 16
        self.num_attention_heads = 1

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
        )

    def prepare_config_and_inputs_for_common(self):
        ids = torch.randint(4, 99, (self.batch_size, self.seq_length))
        decoder_ids = torch.randint(4, 99, (self.batch_size, self.seq_length))
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "decoder_input_ids": decoder_ids,
            "decoder_attention_mask": torch.ones_like(ids),
        }
        return self.get_config(), inputs


class RnnAttnModelTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (RnnAttnModel, RnnAttnForConditionalGeneration)
    all_generative_model_classes = (RnnAttnForConditionalGeneration,)
    is_encoder_decoder = True
    test_resize_embeddings = True

    def setUp(self):
        self.model_tester = RnnAttnModelTester(self)
        names = {"rnn_attn": RnnAttnForConditionalGeneration.__name__}
        patch = unittest.mock.patch.dict(common.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, names)
        self.enterContext(patch)
