"""The session that all tests share works, and what it keeps running is not taken for a leak."""


def test_the_shared_session_counts_in_java_and_in_python(spark):
    assert spark.range(10).count() == 10
    assert spark.range(10).mapInArrow(lambda batches: batches, "id long").count() == 10


def test_the_session_is_still_there(spark):
    assert spark.sparkContext.master == "local[2]"
