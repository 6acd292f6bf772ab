# SPDX-License-Identifier: Apache-2.0
"""The Mistral actions ``novadocker.<verb>``: a thin class a verb, over this package's logic."""
