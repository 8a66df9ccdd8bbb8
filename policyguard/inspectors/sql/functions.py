"""What a function does to the values it is given: data, to be read and reviewed as a list.

Layer: inspectors. Imports nothing of policyguard. Start reading at `CLASSES` and `NAMES`.

Only functions that are listed here are understood. A function that isn't may read tables, run text
or send data away, so the statement that calls it is unresolved. The class names are those of the
parser's syntax tree, the plain names those of functions the parser knows no class for. A function
of a user's own that has the name of a built-in of any dialect is taken for that built-in.
"""

from __future__ import annotations

from typing import Final

from policyguard.inspectors.sql.words import words

AGGREGATED_CLASSES: Final = words(
    """
    ApproxDistinct Avg Corr Count CountIf CovarPop CovarSamp Hll Kurtosis RegrAvgx RegrAvgy
    RegrCount RegrIntercept RegrR2 RegrSlope RegrSxx RegrSxy RegrSyy Skewness Stddev
    StddevPop StddevSamp Sum Variance VariancePop
    """
)
# One number that says nothing about one row, even when it is computed for each row.
COUNT_CLASSES: Final = frozenset({"ApproxDistinct", "Count", "CountIf"})
HASHED_CLASSES: Final = words(
    """
    MD5 MD5Digest MD5NumberLower64 MD5NumberUpper64 SHA SHA1Digest SHA2 SHA2Digest
    StandardHash
    """
)
ENCRYPTED_CLASSES: Final = frozenset({"Encrypt", "EncryptRaw"})
DECRYPTED_CLASSES: Final = frozenset({"Decrypt", "DecryptRaw"})
# The value of one row comes out as it is.
DIRECT_CLASSES: Final = words(
    """
    AnyValue ArgMax ArgMin Coalesce First FirstValue Greatest Lag Last LastValue Lead Least
    Max Min Mode NthValue
    """
)
DERIVED_CLASSES: Final = words(
    """
    Abs Acos Acosh AddMonths ApproxPercentileAccumulate ApproxPercentileCombine
    ApproxPercentileEstimate ApproxQuantile ApproxQuantiles ApproxTopK ApproxTopKAccumulate
    ApproxTopKCombine ApproxTopKEstimate ApproxTopSum ApproximateSimilarity Array ArrayAgg
    ArrayAll ArrayAny ArrayAppend ArrayCompact ArrayConcat ArrayConcatAgg
    ArrayConstructCompact ArrayContainedBy ArrayContains ArrayContainsAll ArrayDistinct
    ArrayExcept ArrayFilter ArrayFirst ArrayInsert ArrayIntersect ArrayLast ArrayMax
    ArrayMin ArrayOverlaps ArrayPosition ArrayPrepend ArrayRemove ArrayRemoveAt ArrayReverse
    ArraySize ArraySlice ArraySort ArraySum ArrayToString ArrayUnionAgg ArrayUniqueAgg
    ArraysZip Ascii Asin Asinh Atan Atan2 Atanh Base64DecodeBinary Base64DecodeString
    Base64Encode BitLength BitmapBitPosition BitmapBucketNumber BitmapConstructAgg
    BitmapCount BitmapOrAgg BitwiseAndAgg BitwiseCount BitwiseOrAgg BitwiseXorAgg Booland
    Boolnot Boolor BoolxorAgg ByteLength Cbrt Ceil CheckJson CheckXml Chr CityHash64
    CodePointsToBytes CodePointsToString Collate Collation Compress Concat ConcatWs
    ConnectByRoot Contains Convert ConvertTimezone ConvertToCharset Cos Cosh CosineDistance
    Cot Coth Csc Csch CumeDist CurrentAccount CurrentAccountName CurrentAvailableRoles
    CurrentCatalog CurrentClient CurrentDatabase CurrentDate CurrentDatetime
    CurrentIpAddress CurrentOrganizationName CurrentOrganizationUser CurrentRegion
    CurrentRole CurrentRoleType CurrentSchema CurrentSchemas CurrentSecondaryRoles
    CurrentSession CurrentTime CurrentTimestamp CurrentTimestampLTZ CurrentTimezone
    CurrentTransaction CurrentUser CurrentUserId CurrentVersion CurrentWarehouse Date
    DateAdd DateBin DateDiff DateFromParts DateFromUnixDate DateStrToDate DateSub
    DateToDateStr DateToDi DateTrunc Datetime DatetimeAdd DatetimeDiff DatetimeSub
    DatetimeTrunc Day DayOfMonth DayOfWeek DayOfWeekIso DayOfYear Dayname Decode DecodeCase
    DecompressBinary DecompressString Degrees DenseRank DiToDate DotProduct Elt Encode
    EndsWith EqualNull EuclideanDistance Exp Explode ExplodingGenerateSeries Extract
    Factorial FarmFingerprint Flatten Float64 Floor Format FromBase FromBase32 FromBase64
    FromISO8601Date FromISO8601Timestamp FromISO8601TimestampNanos FromJson
    GenerateDateArray GenerateSeries GenerateTimestampArray GetExtract GetIgnoreCase Getbit
    GroupConcat Grouping GroupingId HashAgg Hex HexDecodeString Host Hour Initcap Inline
    Int64 IsArray IsAscii IsInf IsNan IsNullValue JSONArray JSONArrayAgg JSONArrayAppend
    JSONArrayContains JSONArrayInsert JSONBContains JSONBContainsAllTopKeys
    JSONBContainsAnyTopKeys JSONBContainsTopKey JSONBDeleteAtPath JSONBExists JSONBExtract
    JSONBExtractScalar JSONBObjectAgg JSONBPathExists JSONBool JSONExists JSONExtract
    JSONExtractArray JSONExtractScalar JSONFormat JSONKeys JSONKeysAtDepth JSONObject
    JSONObjectAgg JSONRemove JSONSet JSONStripNulls JSONType JSONValueArray
    JarowinklerSimilarity JustifyDays JustifyHours JustifyInterval LastDay LaxBool
    LaxFloat64 LaxInt64 LaxString Left Length Levenshtein List Ln Localtime Localtimestamp
    Log LogicalAnd LogicalOr Lower LowerHex MakeInterval ManhattanDistance Map MapCat
    MapContainsKey MapDelete MapFromEntries MapInsert MapKeys MapPick MapSize MatchAgainst
    Median Minhash MinhashCombine Minute Month Monthname MonthsBetween Nanvl Negative
    NextDay Normal Normalize Ntile Nullif NumberToStr Nvl2 ObjectAgg ObjectInsert
    ObjectTransform Overlay Pad ParseBignumeric ParseDatetime ParseIp ParseJSON ParseNumeric
    ParseTime ParseUrl PercentRank PercentileCont PercentileDisc Pi Posexplode
    PosexplodeOuter Pow PreviousDay Quantile Quarter Radians Rand Randn Randstr RangeBucket
    Rank Reduce RegDomain RegexpCount RegexpExtract RegexpExtractAll RegexpFullMatch
    RegexpILike RegexpInstr RegexpLike RegexpReplace RegexpSplit RegexpSubstr RegrValx
    RegrValy Repeat Replace Reverse Right Rint Round RowNumber RtrimmedLength SafeAdd
    SafeConvertBytesToString SafeDivide SafeMultiply SafeNegate SafeSubtract Sec Sech Second
    Seq1 Seq2 Seq4 Seq8 SessionUser Shuffle Sign Sin Sinh Soundex SoundexP123 Space Split
    SplitPart SplitToTable Sqrt StDistance StPoint Stack StarMap StartsWith StrPosition
    StrToDate StrToMap StrToTime StrToUnix String StringToArray StripNullValue Strtok
    StrtokSplitToTable StrtokToArray Struct StructExtract Stuff Substring SubstringIndex
    Systimestamp Tan Tanh Time TimeAdd TimeDiff TimeFromParts TimeSlice TimeStrToDate
    TimeStrToTime TimeStrToUnix TimeSub TimeToStr TimeToTimeStr TimeToUnix TimeTrunc
    Timestamp TimestampAdd TimestampDiff TimestampFromParts TimestampLtzFromParts
    TimestampSub TimestampTrunc TimestampTzFromParts ToArray ToBase32 ToBase64 ToBinary
    ToBoolean ToChar ToCodePoints ToDays ToDecfloat ToDouble ToMap ToNumber ToVariant
    Transform Translate Trim Trunc Try TryBase64DecodeBinary TryBase64DecodeString
    TryHexDecodeBinary TryHexDecodeString TryToDecfloat TsOrDiToDi TsOrDsAdd TsOrDsDiff
    TsOrDsToDate TsOrDsToDateStr TsOrDsToDatetime TsOrDsToTime TsOrDsToTimestamp Typeof
    Unhex Unicode Uniform UnixDate UnixMicros UnixMillis UnixSeconds UnixToStr UnixToTime
    UnixToTimeStr Unnest Upper UtcDate UtcTime UtcTimestamp Uuid VarMap Week WeekOfYear
    WeekStart WeightString WidthBucket Year YearOfWeek YearOfWeekIso Zipf
    """
)

AGGREGATED_NAMES: Final = words(
    """
    bool_count count_big count_distinct approx_count_distinct regr_count stdev stdevp var
    varp total uniqexact uniqhll12
    """
)
HASHED_NAMES: Final = words(
    """
    md5 sha1 sha224 sha256 sha384 sha512 sha2 digest hmac crypt hashbytes sha512_256 to_hmac
    func_sha1 hmac_sha256 hmac_sha512 sipash128 blake3
    """
)
ENCRYPTED_NAMES: Final = words(
    """
    encrypt encrypt_iv pgp_sym_encrypt pgp_sym_encrypt_bytea pgp_pub_encrypt
    pgp_pub_encrypt_bytea aes_encrypt encryptbykey encryptbypassphrase encryptbycert
    """
)
DECRYPTED_NAMES: Final = words(
    """
    decrypt decrypt_iv pgp_sym_decrypt pgp_sym_decrypt_bytea pgp_pub_decrypt
    pgp_pub_decrypt_bytea aes_decrypt decryptbykey decryptbypassphrase decryptbycert
    """
)
DIRECT_NAMES: Final = frozenset(["any_value", "ifnull", "isnull", "nvl", "arbitrary", "anylast"])
DERIVED_NAMES: Final = words(
    """
    abs age all any array array_cat array_dims array_distinct array_except array_fill
    array_intersect array_join array_length array_lower array_max array_min array_ndims
    array_position array_positions array_remove array_replace array_shuffle array_sort
    array_to_json array_to_string array_to_tsvector array_union array_upper arrayelement
    arrayfilter arrayjoin arraymap arrays_overlap arraysort arraystringconcat ascii
    at_timezone bin bit_and bit_count bit_length bit_or bit_xor bool_and bool_or btrim
    cardinality ceil ceiling changes char char_length charindex choose chr clock_timestamp
    col_description concat concat_ws connection_id convert convert_from convert_to
    cosine_distance cosine_similarity cube_distance currval database date date_format
    date_part dateadd datediff datename datepart daterange datetime day day_of_week dayname
    dayofmonth dayofweek dayofyear decode degrees dense_rank div element_at elt empty encode
    every exp export_set extract extractvalue field filter find_in_set flatten float format
    format_type formatdatetime found_rows from_base64 from_days from_unixtime from_utf8 gcd
    gen_random_uuid generate_subscripts get_bit get_byte glob greatest groupuniqarray
    has_column_privilege has_table_privilege hash hex histogram hour iif inet_aton inet_ntoa
    initcap inner_product insert instr int4 int4range int8 int8range interval isempty
    isfinite isjson json json_agg json_agg_strict json_array json_array_elements
    json_array_elements_text json_array_insert json_array_length json_arrayagg
    json_build_array json_build_object json_contains json_contains_path json_depth json_each
    json_each_text json_error_position json_extract json_extract_path json_extract_path_text
    json_extract_string json_group_array json_group_object json_insert json_keys json_length
    json_merge_patch json_merge_preserve json_object json_object_agg json_object_keys
    json_overlaps json_patch json_pretty json_query json_query_array json_quote json_remove
    json_replace json_search json_set json_storage_size json_strip_nulls json_to_record
    json_to_recordset json_to_tsvector json_type json_typeof json_unquote json_valid
    json_value jsonb jsonb_agg jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg
    jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query
    jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_set_lax
    jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_to_tsvector jsonb_typeof
    jsonextractint jsonextractstring julianday justify_interval l2_distance last_insert_id
    last_insert_rowid lastval lcase lcm left length levenshtein like likelihood likely list
    list_aggr list_aggregate list_contains list_distinct list_filter list_sort
    list_transform list_value ln localtimestamp locate log log10 log2 lower lower_inc
    lower_inf lpad ltrim make_date make_interval make_set make_time make_timestamp
    make_timestamptz makedate maketime masklen max_by microsecond merge_action mid min_by min_scale
    minute mod monotonically_increasing_id month monthname multiif multirange network
    nextval normalize notempty now nth_value ntile nullif num_nonnulls num_nulls numnode
    numrange obj_description oct octet_length ord overlay parse_ident parse_json
    parsedatetimebesteffort patindex percent_rank period_add period_diff pg_advisory_lock
    pg_advisory_unlock pg_advisory_xact_lock pg_backend_pid pg_column_size
    pg_encoding_to_char pg_get_constraintdef pg_get_expr pg_get_indexdef pg_get_userbyid
    pg_is_in_recovery pg_relation_size pg_size_pretty pg_sleep pg_table_is_visible
    pg_table_size pg_total_relation_size pg_try_advisory_lock pg_try_advisory_xact_lock
    pg_type_is_visible pg_typeof phraseto_tsquery pi plainto_tsquery position pow power
    printf quarter querytree quote quote_ident quote_literal quote_nullable quotename
    radians random range_agg range_merge rank regexp_count regexp_instr regexp_like
    regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
    regexp_substr repeat replace replicate reverse right round row row_count row_number
    row_to_json rpad rtrim scale schema schemas scope_identity sec_to_time second
    session_user set_bit set_byte setseed setval setweight shobj_description sign
    similar_to_escape similarity sizeof soundex space split_part splitbychar splitbystring
    sqlite_source_id sqlite_version sqrt st_asgeojson st_astext st_contains st_distance
    st_dwithin st_geomfromtext st_intersects st_makepoint st_point st_setsrid st_transform
    st_within st_x st_y starts_with statement_timestamp str strcmp strftime
    strict_word_similarity string_split string_to_array string_to_table strip strpos struct
    struct_extract struct_pack stuff subdate substr substring substring_index subtime
    sysdate sysdatetime sysdatetimeoffset sysutcdatetime time time_to_sec timediff timeofday
    timestamp timezone to_ascii to_base64 to_char to_date to_days to_hex to_json to_jsonb
    to_number to_seconds to_timestamp to_tsquery to_tsvector to_utf8 todate todatetime
    todatetime64 todayofmonth todayofweek tofloat64 toint32 toint64 tolowcardinality tomonth
    tonullable tostartofday tostartofhour tostartofminute tostartofmonth tostartofweek
    tostartofyear tostring total_changes touint32 touint64 toyear toyyyymm toyyyymmdd
    transaction_timestamp translate trim trim_array trim_scale trunc truncate ts_delete
    ts_filter ts_headline ts_lexize ts_rank ts_rank_cd tsquery_phrase tsrange tstzrange
    tsvector_to_array txid_current typeof ucase unaccent unhex unicode unistr unix_timestamp
    unixepoch unlikely unnest upper upper_inc upper_inf url_extract_host url_extract_path
    user utc_date utc_time utc_timestamp uuid uuid_generate_v4 uuidv4 uuidv7 vector_dims
    vector_norm version websearch_to_tsquery week weekday weekofyear width_bucket
    word_similarity xml_is_well_formed xmlagg xmlattributes xmlconcat xmlforest year
    yearweek zeroblob zeroifnull zip
    """
)

# Functions that make rows in FROM: the names of their columns, where they are fixed.
ROW_FUNCTIONS: Final[dict[str, tuple[str, ...]]] = {
    "generate_series": (),
    "generate_subscripts": (),
    "json_array_elements": ("value",),
    "json_array_elements_text": ("value",),
    "json_each": ("key", "value"),
    "json_each_text": ("key", "value"),
    "json_object_keys": (),
    "json_to_record": (),
    "json_to_recordset": (),
    "json_tree": (),
    "jsonb_array_elements": ("value",),
    "jsonb_array_elements_text": ("value",),
    "jsonb_each": ("key", "value"),
    "jsonb_each_text": ("key", "value"),
    "jsonb_object_keys": (),
    "jsonb_path_query": (),
    "jsonb_to_record": (),
    "jsonb_to_recordset": (),
    "regexp_matches": (),
    "regexp_split_to_table": (),
    "string_split": ("value",),
    "string_to_table": (),
    "unnest": (),
    "range": (),
}
# In SQLite they have more columns.
JSON_TREES: Final[dict[str, tuple[str, ...]]] = dict.fromkeys(
    ("json_each", "json_tree"),
    ("key", "value", "type", "atom", "id", "parent", "fullkey", "path"),
)
# They yield one column, called like the alias or else like the function.
ONE_COLUMN: Final = words(
    """
    generate_series generate_subscripts json_object_keys jsonb_object_keys jsonb_path_query
    regexp_matches regexp_split_to_table string_to_table
    """
)
ROW_CLASSES: Final = words(
    """
    Explode ExplodeOuter ExplodingGenerateSeries Flatten GenerateDateArray GenerateSeries
    GenerateTimestampArray Inline JSONTable OpenJSON Posexplode PosexplodeOuter RegexpSplit
    SplitToTable Stack String StrtokSplitToTable Unnest XMLTable _ExplodeOuter
    RegexpExtractAll
    """
)
# Functions that yield several columns where one stands.
WIDE_CLASSES: Final = frozenset(["Inline", "Posexplode", "PosexplodeOuter", "Stack"])
