# SPDX-License-Identifier: LGPL-3.0-or-later
"""The program of the child process that reads files of other programs'.

HDF5, Arrow, JPEG and the like are read by large libraries that a file can crash, keep busy for
ever, or have take all memory. So they run in a process of its own, which `gymbag.formats.process`
starts and which limits itself first. It writes nothing but its output, follows no link, and
imports nothing of gymbag's but this folder, for the whole takes a second.
"""
