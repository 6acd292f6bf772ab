# SPDX-License-Identifier: Apache-2.0
"""What is put on such a host, and into the images of its containers."""
