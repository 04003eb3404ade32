"""A caption, word by word

A network that writes about a picture is asked of each of its words: what made it probable, after all that stands
before it?
"""

# %%
# The demo network that writes knows drawn phantoms. One pass over its whole text serves all of its words.
import cfcam
from cfcam.models.demo import load_demo_captioner, make_phantom

writer = load_demo_captioner()
phantom = make_phantom(1, findings=["nodule", "effusion"])
e = cfcam.explain_text(writer, phantom.image)
print(e.texts[0].whole)
cfcam.imaging.save_image(e.strip(phantom.image, panel_size=150, footer="phantom"), "words.png")

# %%
# A question is asked likewise. An answer against another says what tells the two apart: the number beside it is a
# margin, and no probability.
e = cfcam.explain_text(writer, phantom.image, "is there an effusion?", targets=cfcam.Answer("yes", "no"))
print(e.texts[0].whole, f"{float(e.scores[0, 0]):.1f}")
