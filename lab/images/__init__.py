# SPDX-License-Identifier: Apache-2.0
"""What hosts are made of: layers, the kept state of a ready lab, wheels."""
