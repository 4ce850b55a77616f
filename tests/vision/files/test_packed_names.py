from vision.files.packed_names import PackedNames


def test_packed_names_are_the_names_that_were_given() -> None:
    names = ["happy/ä.png", "", "traurig/\udce4.png", "日本/1.png"]

    packed = PackedNames(names)

    assert list(packed) == names
    assert (packed[-1], packed[1:3], len(packed)) == (names[-1], names[1:3], 4)
    assert "" in packed
    assert not PackedNames()
