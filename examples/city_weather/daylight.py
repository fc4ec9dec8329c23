"""When the sun rises and sets: the low-precision formulas, good to a few minutes."""

import math


def sunrise_and_sunset(day_of_year, latitude, longitude, utc_offset=-8):
    """Return both as hours of local standard time, for a day between the polar circles.

    Declination and equation of time are the usual cosine fits; the sun counts as up when its
    centre is less than 0.833 degrees below the horizon (its radius, and refraction).
    """
    turn = 2 * math.pi / 365
    declination = math.radians(-23.44) * math.cos(turn * (day_of_year + 10))
    season = turn * (day_of_year - 81)
    equation = 9.87 * math.sin(2 * season) - 7.53 * math.cos(season) - 1.5 * math.sin(season)
    noon = 12 + (utc_offset * 15 - longitude) / 15 - equation / 60
    phi = math.radians(latitude)
    cosine = (math.sin(math.radians(-0.833)) - math.sin(phi) * math.sin(declination)) / (
        math.cos(phi) * math.cos(declination)
    )
    half_day = math.degrees(math.acos(cosine)) / 15
    return noon - half_day, noon + half_day
