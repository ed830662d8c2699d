"""Texts of any characters, and texts that look like Harmony's own framing."""

from hypothesis import strategies as st

from ouvert.chat.harmony import PUBLISHED_IDS

words = st.text(
    st.sampled_from('ab é你🙂\n\r\t"\\/<|>{}[]:,.0_-') | st.characters(exclude_categories=["Cs"]), max_size=10
)
look_alikes = st.lists(words | st.sampled_from(sorted(PUBLISHED_IDS)), max_size=3).map("".join)
