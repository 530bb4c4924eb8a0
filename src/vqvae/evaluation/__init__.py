"""Evaluation: measurements, pictures, and the report page."""

from vqvae.evaluation.editing import inpaint_picture as inpaint_picture
from vqvae.evaluation.evaluate import Results as Results
from vqvae.evaluation.evaluate import evaluate as evaluate
from vqvae.evaluation.inputs import check_flags as check_flags
from vqvae.evaluation.inputs import data_config as data_config
from vqvae.evaluation.inputs import label_rows as label_rows
from vqvae.evaluation.jobs import evaluate_run as evaluate_run
from vqvae.evaluation.jobs import reconstruction_picture as reconstruction_picture
from vqvae.evaluation.jobs import sample_picture as sample_picture
from vqvae.evaluation.likelihood import likelihood_picture as likelihood_picture
from vqvae.evaluation.pictures import save_png as save_png
from vqvae.evaluation.report import write_report as write_report
from vqvae.evaluation.table import results_table as results_table
